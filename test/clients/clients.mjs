// Plays the clients oauth4webapi, openid-client and jose, as npm has them, against a gate. The argument is JSON that says
// where it is and who they are. Each step prints its name; the first that fails ends it all.
import assert from 'node:assert/strict'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const given = JSON.parse(process.argv[2])
const insecure = { [oauth.allowInsecureRequests]: true } // the tests speak HTTP, on loopback
const issuer = new URL(given.issuer)
const redirect = 'https://app.test/callback'
const step = (name) => console.log('ok ' + name)

const discover = async (algorithm) =>
  oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm, ...insecure }))
const as = await discover('oauth2')
assert.deepEqual(await discover('oidc'), as)
step('oauth4webapi: discovery, RFC 8414 and OpenID')

const resource = new URL(given.resource)
const metadata = await oauth.processResourceDiscoveryResponse(resource, await oauth.resourceDiscoveryRequest(resource, insecure))
assert.deepEqual(metadata.authorization_servers, [given.issuer])
step('oauth4webapi: protected resource metadata')

const key = { key: await crypto.subtle.importKey('jwk', given.jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']), kid: given.jwk.kid }
const ways = {
  basic: [{ client_id: 'web' }, oauth.ClientSecretBasic(given.secret)],
  post: [{ client_id: 'web' }, oauth.ClientSecretPost(given.secret)],
  key: [{ client_id: 'signer' }, oauth.PrivateKeyJwt(key)],
}
const own = async (client, auth, parameters) =>
  oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, parameters, insecure))
const gate = (token) => oauth.protectedResourceRequest(token, 'GET', new URL(given.route), undefined, undefined, insecure)
const valid = (token) =>
  oauth.validateJwtAccessToken(as, new Request(given.route, { headers: { authorization: 'Bearer ' + token } }), given.resource, insecure)

for (const [name, [client, auth]] of Object.entries(ways)) {
  const { access_token: token } = await own(client, auth, {})
  const claims = await valid(token)
  assert.equal(claims.client_id, client.client_id)
  assert.equal((await gate(token)).status, 200)
  step('oauth4webapi: client_credentials, ' + name)
}
await assert.rejects(own({ client_id: 'web' }, oauth.ClientSecretBasic('x' + given.secret), {}), (e) => e instanceof oauth.WWWAuthenticateChallengeError && e.status === 401)
await assert.rejects(own({ client_id: 'web' }, ways.post[1], { scope: 'openid' }), (e) => e.error === 'invalid_scope' && e.status === 400)
step('oauth4webapi: refusals are read')

// A code comes from the backend that has logged its user in, with a management token.
const manage = (await own(...ways.basic, { scope: 'issue_codes' })).access_token
const issueCode = async (members) => {
  const response = await fetch(given.issuer + '/api/v1/authorization-codes', {
    method: 'POST',
    headers: { authorization: 'Bearer ' + manage, 'content-type': 'application/json' },
    body: JSON.stringify({ subject: 'alice', role: 'reader', tenant: 'acme', ...members }),
  })
  assert.equal(response.status, 201, await response.clone().text())
  return (await response.json()).authorization_code
}
const redeem = async (client, auth, members, verifier, uri = redirect) => {
  const callback = new URL(redirect + '?' + new URLSearchParams({ code: await issueCode(members), state: 's' }))
  const parameters = oauth.validateAuthResponse(as, client, callback, 's')
  const response = await oauth.authorizationCodeGrantRequest(as, client, auth, parameters, uri, verifier, insecure)
  return oauth.processAuthorizationCodeResponse(as, client, response)
}
const verifier = oauth.generateRandomCodeVerifier()
const challenge = { code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256' }
const publicClient = { client_id: 'spa' }
const user = await redeem(publicClient, oauth.None(), { client_id: 'spa', redirect_uri: redirect, ...challenge }, verifier)
const said = await valid(user.access_token)
assert.deepEqual([said.sub, said.client_id, said.grantor], ['alice', 'spa', 'web'])
assert.equal((await gate(user.access_token)).status, 200)
const unbound = await redeem({ client_id: 'web' }, ways.basic[1], {}, oauth.nopkce)
assert.equal((await valid(unbound.access_token)).client_id, 'web')
const invalidGrant = (e) => e instanceof oauth.ResponseBodyError && e.error === 'invalid_grant'
await assert.rejects(redeem(publicClient, oauth.None(), { client_id: 'spa', ...challenge }, oauth.generateRandomCodeVerifier()), invalidGrant)
await assert.rejects(redeem({ client_id: 'web' }, ways.basic[1], { redirect_uri: redirect }, oauth.nopkce, redirect + '/other'), invalidGrant)
await assert.rejects(redeem({ client_id: 'web' }, ways.basic[1], {}, verifier), invalidGrant)
step('oauth4webapi: authorization_code with PKCE')

const exchange = {
  subject_token: user.access_token,
  subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
}
const grant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const narrowed = await oauth.processGenericTokenEndpointResponse(as, { client_id: 'web' },
  await oauth.genericTokenEndpointRequest(as, { client_id: 'web' }, ways.basic[1], grant, { ...exchange, expires_in: '60' }, insecure))
const act = await valid(narrowed.access_token)
assert.deepEqual([act.sub, act.client_id, act.act, act.exp - act.iat], ['alice', 'web', { sub: 'web' }, 60])
step('oauth4webapi: token exchange')

const introspect = async (token) =>
  oauth.processIntrospectionResponse(as, { client_id: 'web' }, await oauth.introspectionRequest(as, { client_id: 'web' }, ways.post[1], token, insecure))
assert.equal((await introspect(user.access_token)).sub, 'alice')
await oauth.processRevocationResponse(await oauth.revocationRequest(as, publicClient, oauth.None(), user.access_token, insecure))
assert.deepEqual(await introspect(user.access_token), { active: false })
await assert.rejects(gate(user.access_token), (e) =>
  e instanceof oauth.WWWAuthenticateChallengeError && e.cause[0].scheme === 'bearer' && e.cause[0].parameters.error === 'invalid_token' &&
  new URL(e.cause[0].parameters.resource_metadata).pathname === '/.well-known/oauth-protected-resource/api')
step('oauth4webapi: introspection and revocation')

// openid-client, which stands on oauth4webapi and adds its own way of going about it.
const options = { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] }
const config = await openid.discovery(issuer, 'web', undefined, openid.ClientSecretPost(given.secret), options)
const mine = await openid.clientCredentialsGrant(config, { resource: given.resource })
assert.equal((await openid.fetchProtectedResource(config, mine.access_token, new URL(given.route), 'GET')).status, 200)
const spa = await openid.discovery(issuer, 'spa', undefined, openid.None(), options)
const secretOfCode = openid.randomPKCECodeVerifier()
const code = await issueCode({ client_id: 'spa', code_challenge: await openid.calculatePKCECodeChallenge(secretOfCode), code_challenge_method: 'S256' })
const callback = new URL(redirect + '?' + new URLSearchParams({ code }))
const tokens = await openid.authorizationCodeGrant(spa, callback, { pkceCodeVerifier: secretOfCode })
assert.equal(tokens.expires_in, 3600)
assert.equal((await openid.tokenIntrospection(config, tokens.access_token)).active, true)
const again = await openid.genericGrantRequest(config, grant, { ...exchange, subject_token: tokens.access_token })
assert.equal((await openid.tokenIntrospection(config, again.access_token)).act.sub, 'web')
await openid.tokenRevocation(spa, tokens.access_token)
assert.deepEqual(await openid.tokenIntrospection(config, tokens.access_token), { active: false })
const second = openid.authorizationCodeGrant(spa, callback, { pkceCodeVerifier: secretOfCode })
await assert.rejects(second, (e) => e.error === 'invalid_grant')
step('openid-client: every grant, introspection, revocation')

// jose, as a resource server would use it, and mutants that neither side takes.
const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
const check = { issuer: given.issuer, audience: given.resource, typ: 'at+jwt', requiredClaims: ['sub', 'client_id', 'iat', 'exp', 'jti'] }
const good = mine.access_token
assert.equal((await jose.jwtVerify(good, keys, check)).payload.sub, 'web')
const [head, body, signature] = good.split('.')
const encode = (object) => jose.base64url.encode(JSON.stringify(object))
const header = jose.decodeProtectedHeader(good)
const claims = jose.decodeJwt(good)
const published = await (await fetch(as.jwks_uri)).text()
const mutants = {
  'alg none': [encode({ ...header, alg: 'none' }), body, ''].join('.'),
  'alg none, signed': [encode({ ...header, alg: 'none' }), body, signature].join('.'),
  'HMAC with the public key': await new jose.SignJWT(claims).setProtectedHeader({ ...header, alg: 'HS256' }).sign(new TextEncoder().encode(published)),
  'a stranger of the same kid': await new jose.SignJWT(claims).setProtectedHeader(header).sign((await jose.generateKeyPair('ES256')).privateKey),
  'an unknown kid': [encode({ ...header, kid: 'x' }), body, signature].join('.'),
  'more rights': [head, encode({ ...claims, tenantPermissions: [{ tenant: '*', allowedActions: ['*'] }] }), signature].join('.'),
  'crit': [encode({ ...header, crit: ['x'], x: 1 }), body, signature].join('.'),
  'another typ': [encode({ ...header, typ: 'JWT' }), body, signature].join('.'),
  'a signature of zeros': [head, body, 'A'.repeat(86)].join('.'),
  'no signature': [head, body, ''].join('.'),
  'two segments': [head, body].join('.'),
  'five segments': [head, body, signature, head, body].join('.'),
}
for (const [name, mutant] of Object.entries(mutants)) {
  await assert.rejects(jose.jwtVerify(mutant, keys, check), undefined, 'jose takes ' + name)
  await assert.rejects(valid(mutant), undefined, 'oauth4webapi takes ' + name)
  const response = await fetch(given.route, { headers: { authorization: 'Bearer ' + mutant } })
  assert.equal(response.status, 401, 'the gate takes ' + name)
}
await assert.rejects(jose.jwtVerify(manage, keys, check), (e) => e.claim === 'aud')
step('jose: good tokens, and mutants that both sides refuse')
