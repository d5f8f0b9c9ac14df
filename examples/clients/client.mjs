// A client in Node.js, by fetch alone. GATE is the gate's URL, SHOP_SECRET the client's secret.
const { GATE: gate, SHOP_SECRET: secret } = process.env

// RFC 6749, section 2.3.1: id and secret are form-encoded before they go into Basic.
const basic = Buffer.from(['shop', secret].map(encodeURIComponent).join(':')).toString('base64')

async function answer(response) {
  if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`)
  return response.json()
}

const token = async (parameters) =>
  (await answer(await fetch(`${gate}/oauth2/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${basic}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', ...parameters }),
  }))).access_token

const post = async (path, bearer, body) =>
  answer(await fetch(gate + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...(bearer && { authorization: `Bearer ${bearer}` }) },
    body: JSON.stringify(body),
  }))

async function ask(name, tenant, bearer) {
  const response = await fetch(`${gate}/t/${tenant}/orders`, { headers: { authorization: `Bearer ${bearer}` } })
  await response.text()
  console.log(`${name}: ${response.status}`)
}

// The service itself.
await ask('shop, for acme', 'acme', await token({}))

// A user of its: it asks for a code, which the user's side exchanges.
const manage = await token({ scope: 'issue_codes' })
const { authorization_code } = await post('/api/v1/authorization-codes', manage, { subject: 'alice', role: 'reader', tenant: 'acme' })
const { access_token: alice } = await post('/api/v1/tokens', undefined, { authorization_code })
await ask('alice, for acme', 'acme', alice)
await ask('alice, for globex', 'globex', alice)
