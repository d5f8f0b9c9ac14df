// A client: calls a method of shop.Orders through the gate, prints the answers, and fails unless the status is as wanted.
//
//   node call.mjs METHOD TENANT STATUS [TOKEN]
import grpc from '@grpc/grpc-js'

const [method, tenant, wanted, token] = process.argv.slice(2)
const client = new grpc.Client(process.env.GATE ?? '127.0.0.1:8080', grpc.credentials.createInsecure())
const metadata = new grpc.Metadata({ waitForReady: true })
metadata.set('x-tenant', tenant)
if (token) metadata.set('authorization', 'Bearer ' + token)

const same = (bytes) => bytes
const deadline = { deadline: Date.now() + 30_000 }
const call = client.makeServerStreamRequest('/shop.Orders/' + method, same, same, Buffer.from('7'), metadata, deadline)
call.on('data', (message) => console.log(message.toString()))
call.on('error', () => {}) // the status says it
call.on('status', ({ code, details }) => {
  console.log(grpc.status[code], details)
  client.close()
  process.exitCode = grpc.status[code] === wanted ? 0 : 1
})
