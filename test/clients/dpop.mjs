// Plays oauth4webapi and openid-client with DPoP (RFC 9449), as npm has them, against a gate that asks for nonces or not. The
// argument is JSON, as for clients.mjs.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const given = JSON.parse(process.argv[2])
const insecure = { [oauth.allowInsecureRequests]: true } // the tests speak HTTP, on loopback
const issuer = new URL(given.issuer)
const route = new URL(given.route)
const redirect = 'https://app.test/callback'
const step = (name) => console.log('ok ' + name)

const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }))
const web = { client_id: 'web' }
const secret = oauth.ClientSecretPost(given.secret)

// The client's own way with nonces: what is refused for the lack of one is asked for again, once, with the same handle.
let asked = 0
const patient = async (request) => {
  try {
    return await request()
  } catch (e) {
    if (!oauth.isDPoPNonceError(e)) throw e
    asked++
    return request()
  }
}
const own = (DPoP, parameters = {}) => patient(async () => oauth.processClientCredentialsResponse(as, web,
  await oauth.clientCredentialsGrantRequest(as, web, secret, parameters, { DPoP, ...insecure })))
const gate = (token, DPoP, method = 'GET', url = route) => patient(() => oauth.protectedResourceRequest(token, method, url, undefined, undefined, { DPoP, ...insecure }))
const refused = (status, error) => (e) =>
  e instanceof oauth.WWWAuthenticateChallengeError && e.status === status && e.cause[0].scheme === 'dpop' && e.cause[0].parameters.error === error

for (const alg of ['ES256', 'PS256', 'RS256', 'Ed25519']) {
  assert(as.dpop_signing_alg_values_supported.includes(alg))
  const DPoP = oauth.DPoP(web, await oauth.generateKeyPair(alg))
  const tokens = await own(DPoP)
  assert.equal(tokens.token_type, 'dpop') // the client writes it in small letters
  for (const method of ['GET', 'POST']) assert.equal((await gate(tokens.access_token, DPoP, method)).status, 200)
  assert.equal((await gate(tokens.access_token, DPoP, 'GET', new URL('x%7ey?q=1#f', route))).status, 200)
}
assert.equal(asked, given.nonce ? 4 : 0) // one for each handle, since a nonce of the token endpoint is one of the gate's
step('oauth4webapi: client_credentials, every algorithm')

const pair = await oauth.generateKeyPair('ES256')
const DPoP = oauth.DPoP(web, pair)
const bound = (await own(DPoP)).access_token
const seen = []
const sniff = (url, init) => {
  seen.push(new Request(url, init))
  return fetch(url, init)
}
await oauth.protectedResourceRequest(bound, 'GET', route, undefined, undefined, { DPoP, ...insecure, [oauth.customFetch]: sniff })
const said = await oauth.validateJwtAccessToken(as, seen[0], given.resource, { requireDPoP: true, ...insecure })
assert.equal(said.cnf.jkt, await DPoP.calculateThumbprint())
await assert.rejects(oauth.validateJwtAccessToken(as, new Request(route, { headers: { authorization: 'Bearer ' + bound } }), given.resource, insecure))
step('oauth4webapi: its own validator of bound tokens')

await assert.rejects(oauth.protectedResourceRequest(bound, 'GET', route, undefined, undefined, insecure), refused(401, 'invalid_token'))
const stranger = oauth.DPoP(web, await oauth.generateKeyPair('ES256'))
await assert.rejects(gate(bound, stranger), refused(401, 'invalid_dpop_proof'))
const replayed = await fetch(seen[0].url, { headers: seen[0].headers })
assert.equal(replayed.status, 401)
assert.match(replayed.headers.get('www-authenticate'), /^DPoP .*error="invalid_dpop_proof"/)
step('oauth4webapi: refusals are read')

// A public client that must bind its tokens, and whose code is bound to its key beforehand.
const manage = (await own(DPoP, { scope: 'issue_codes' })).access_token
const mobile = { client_id: 'mobile' }
const phone = oauth.DPoP(mobile, await oauth.generateKeyPair('ES256'))
const verifier = oauth.generateRandomCodeVerifier()
const members = {
  subject: 'alice', role: 'reader', tenant: 'acme', client_id: 'mobile', redirect_uri: redirect,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', dpop_jkt: await phone.calculateThumbprint(),
}
const issueCode = async () => {
  const response = await patient(() => oauth.protectedResourceRequest(manage, 'POST', new URL('/api/v1/authorization-codes', issuer),
    new Headers({ 'content-type': 'application/json' }), JSON.stringify(members), { DPoP, ...insecure }))
  assert.equal(response.status, 201)
  return (await response.json()).authorization_code
}
const code = await issueCode()
const redeem = (DPoP) => patient(async () => {
  const parameters = oauth.validateAuthResponse(as, mobile, new URL(redirect + '?' + new URLSearchParams({ code })))
  return oauth.processAuthorizationCodeResponse(as, mobile,
    await oauth.authorizationCodeGrantRequest(as, mobile, oauth.None(), parameters, redirect, verifier, { DPoP, ...insecure }))
})
await assert.rejects(redeem(undefined), (e) => e.error === 'invalid_grant') // a code that is bound to a key
await assert.rejects(redeem(stranger), (e) => e.error === 'invalid_grant')
const user = await redeem(phone)
assert.equal((await gate(user.access_token, phone)).status, 200)
step('oauth4webapi: authorization_code with dpop_jkt, by a client that must bind')

const grant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const exchange = (subject, DPoP) => patient(async () => oauth.processGenericTokenEndpointResponse(as, web,
  await oauth.genericTokenEndpointRequest(as, web, secret, grant, { subject_token: subject, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' }, { DPoP, ...insecure })))
assert.equal((await gate((await exchange(bound, DPoP)).access_token, DPoP)).status, 200)
await assert.rejects(exchange(bound, undefined), (e) => e.error === 'invalid_request')
await assert.rejects(exchange(user.access_token, DPoP), (e) => e.error === 'invalid_request')
const told = await oauth.processIntrospectionResponse(as, web, await oauth.introspectionRequest(as, web, secret, bound, insecure))
assert.deepEqual([told.active, told.token_type, told.cnf], [true, 'DPoP', said.cnf])
step('oauth4webapi: exchange and introspection')

// openid-client asks again by itself where a nonce is wanted.
const config = await openid.discovery(issuer, 'web', undefined, openid.ClientSecretPost(given.secret), { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] })
const handle = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
const mine = await openid.clientCredentialsGrant(config, {}, { DPoP: handle })
assert.equal(mine.token_type, 'dpop')
for (let i = 0; i < 3; i++) {
  assert.equal((await openid.fetchProtectedResource(config, mine.access_token, route, 'GET', undefined, undefined, { DPoP: handle })).status, 200)
}
const narrowed = await openid.genericGrantRequest(config, grant, { subject_token: mine.access_token, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token' }, { DPoP: handle })
assert.equal((await openid.fetchProtectedResource(config, narrowed.access_token, route, 'GET', undefined, undefined, { DPoP: handle })).status, 200)
step('openid-client: client_credentials, exchange and routes')
