// An MCP server and an MCP client, both of the official SDK, for the tests. `server` listens on a free port of this
// machine, says its URL in a line, and ends when its standard input does. `client URL ID SECRET ISSUER` finds its way from the
// refusal of the MCP server at URL to a token of the authorization server that it names, and prints what a tool says;
// `client URL --token TOKEN` has the token already.
import { createServer } from 'node:http'
import { Client } from '@modelcontextprotocol/sdk/client/index.js'
import { ClientCredentialsProvider } from '@modelcontextprotocol/sdk/client/auth-extensions.js'
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'

const [mode, url, id, secret, expectedIssuer] = process.argv.slice(2)
if (mode === 'server') {
  const http = createServer(async (request, response) => {
    const server = new McpServer({ name: 'stock', version: '1.0.0' })
    server.registerTool('who', { description: 'who is asking' }, async () => ({
      content: [{ type: 'text', text: `${request.headers['x-jotgate-subject']}, ${request.headers.authorization ?? 'no token'}` }],
    }))
    const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
    response.on('close', () => { transport.close(); server.close() })
    await server.connect(transport)
    await transport.handleRequest(request, response)
  })
  http.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${http.address().port}`))
  process.stdin.on('end', () => process.exit(0)).resume()
} else {
  const known = id === '--token'
  const transport = new StreamableHTTPClientTransport(new URL(url), known
    ? { requestInit: { headers: { Authorization: `Bearer ${secret}` } } }
    : { authProvider: new ClientCredentialsProvider({ clientId: id, clientSecret: secret, scope: 'read', expectedIssuer }) })
  const client = new Client({ name: 'test', version: '1.0.0' })
  await client.connect(transport)
  const { tools } = await client.listTools()
  const { content } = await client.callTool({ name: 'who', arguments: {} })
  console.log(`${tools.map((tool) => tool.name).join()}: ${content[0].text}`)
  await client.close()
}
