// A foreign issuer for the tests: oidc-provider, which is certified for OpenID Connect. It listens on a free port of this
// machine, says its issuer in a line, and ends when its standard input does.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const keys = [
  { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'ec' },
  { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'rsa' },
]
const server = createServer()
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`
  const provider = new Provider(issuer, {
    jwks: { keys },
    cookies: { keys: ['a key of this test'] },
    clients: [{
      client_id: 'warehouse', client_secret: 'a-secret-of-this-test-alone', grant_types: ['client_credentials'],
      redirect_uris: [], response_types: [],
    }],
    scopes: ['read', 'openid'],
    extraTokenClaims: () => ({ realm: { roles: ['auditor'] }, organization: { acme: { id: '42' } }, sid: 'a-session' }),
    features: {
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'read', audience: resource, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  })
  server.on('request', (request, response) => {
    if (request.url === '/test/id_token') {
      idToken(provider).then((token) => response.end(token), (error) => { response.statusCode = 500; response.end(String(error)) })
      return
    }
    if (request.url.startsWith('/test/logout?')) {
      logout(provider, new URL(request.url, issuer).searchParams).then(() => response.end('told'), (error) => response.end(String(error)))
      return
    }
    provider.callback()(request, response)
  })
  console.log(issuer)
})
process.stdin.on('end', () => process.exit(0)).resume()

// idToken is one for alice, as a login would give it.
async function idToken (provider) {
  const client = await provider.Client.find('warehouse')
  const token = new provider.IdToken({ sub: 'alice' }, { ctx: { oidc: { client } }, client })
  token.scope = 'openid'
  return token.issue({ use: 'idtoken' })
}

// logout tells the client at uri that a session has ended, as the end of a login does.
async function logout (provider, parameters) {
  const client = await provider.Client.find('warehouse')
  client.backchannelLogoutUri = parameters.get('uri')
  client.backchannelLogoutSessionRequired = parameters.has('sid')
  await client.backchannelLogout('warehouse', parameters.get('sid'))
}
