// Plays token exchange (RFC 8693) as the clients oauth4webapi and openid-client do it: the token of another issuer for
// one of the gate. The argument is JSON that says where the gate is, who its client is, and what the token says. Each
// step prints its name; the first that fails ends it all.
import assert from 'node:assert/strict'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const given = JSON.parse(process.argv[2])
const insecure = { [oauth.allowInsecureRequests]: true } // the tests speak HTTP, on loopback
const issuer = new URL(given.issuer)
const kind = 'urn:ietf:params:oauth:token-type:access_token'
const grant = 'urn:ietf:params:oauth:grant-type:token-exchange'
const step = (name) => console.log('ok ' + name)

const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
const as = await oauth.processDiscoveryResponse(issuer, discovered)
assert.ok(as.grant_types_supported.includes(grant))
const client = { client_id: given.client }
const auth = oauth.ClientSecretBasic(given.secret)
const subject = { subject_token: given.access, subject_token_type: kind }
const exchange = async (parameters, how = auth) => {
  const response = await oauth.genericTokenEndpointRequest(as, client, how, grant, parameters, insecure)
  return oauth.processGenericTokenEndpointResponse(as, client, response)
}
const route = new URL(given.route)
const gate = (token) => oauth.protectedResourceRequest(token, 'GET', route, undefined, undefined, insecure)

const answer = await exchange({ ...subject, requested_token_type: kind, resource: given.resource, scope: 'READ' })
assert.deepEqual([answer.issued_token_type, answer.token_type, answer.scope], [kind, 'bearer', 'READ'])
assert.ok(answer.expires_in > 0 && answer.expires_in <= given.life)
const said = await oauth.validateJwtAccessToken(as,
  new Request(given.route, { headers: { authorization: 'Bearer ' + answer.access_token } }), given.resource, insecure)
assert.deepEqual([said.iss, said.sub, said.client_id, said.act],
  [given.issuer, given.subject, given.client, { sub: given.client }])
const [original, ...others] = said.exchanged_from
assert.deepEqual([original.iss, original.sub, others], [given.provider, given.subject, []])
assert.equal(await (await gate(answer.access_token)).text(), `${given.subject} from ${given.client}`)
step('oauth4webapi: a token of another issuer for one of ours')

const refused = (error) => (e) => e instanceof oauth.ResponseBodyError && e.error === error && e.status === 400
await assert.rejects(exchange({ ...subject, resource: 'https://other.test' }), refused('invalid_target'))
await assert.rejects(exchange({ ...subject, scope: 'WRITE' }), refused('invalid_scope'))
await assert.rejects(exchange({ ...subject, subject_token: given.id }), refused('invalid_request'))
await assert.rejects(exchange({ subject_token: given.access }), refused('invalid_request'))
const refresh = 'urn:ietf:params:oauth:token-type:refresh_token'
await assert.rejects(exchange({ ...subject, requested_token_type: refresh }), refused('invalid_request'))
await assert.rejects(exchange(subject, oauth.ClientSecretBasic('another ' + given.secret)), (e) =>
  e instanceof oauth.WWWAuthenticateChallengeError && e.status === 401)
step('oauth4webapi: refusals are read')

const config = await openid.discovery(issuer, given.client, undefined, openid.ClientSecretPost(given.secret),
  { algorithm: 'oauth2', execute: [openid.allowInsecureRequests] })
const tokens = await openid.genericGrantRequest(config, grant, { ...subject, audience: given.resource })
assert.equal((await openid.fetchProtectedResource(config, tokens.access_token, route, 'GET')).status, 200)
const active = await openid.tokenIntrospection(config, tokens.access_token)
assert.deepEqual([active.active, active.sub, active.act.sub], [true, given.subject, given.client])
const again = await openid.genericGrantRequest(config, grant, { ...subject, subject_token: tokens.access_token })
assert.equal((await openid.tokenIntrospection(config, again.access_token)).exchanged_from.length, 2)
await openid.tokenRevocation(config, tokens.access_token)
assert.deepEqual(await openid.tokenIntrospection(config, tokens.access_token), { active: false })
assert.deepEqual(await openid.tokenIntrospection(config, again.access_token), { active: false })
await assert.rejects(gate(again.access_token), (e) =>
  e instanceof oauth.WWWAuthenticateChallengeError && e.status === 401)
const revoked = { ...subject, subject_token: again.access_token }
await assert.rejects(openid.genericGrantRequest(config, grant, revoked), refused('invalid_request'))
step('openid-client: the same, introspected, exchanged again and revoked')
