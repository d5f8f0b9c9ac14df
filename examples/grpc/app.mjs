// The stand-in for an app: shop.Orders with a unary call and a stream, and the standard health check. Messages are plain
// text, so that no generated code is needed.
//
//   node app.mjs ADDRESS NAME
import grpc from '@grpc/grpc-js'

const [address, name] = process.argv.slice(2)
const same = (bytes) => bytes
const method = (path, responseStream) => ({
  path,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})

// Only the gate can set these: a client's own are removed.
const caller = (call) => `${call.metadata.get('x-jotgate-subject')} of ${call.metadata.get('x-jotgate-tenant')}`

const server = new grpc.Server()
server.addService(
  { Get: method('/shop.Orders/Get', false), Watch: method('/shop.Orders/Watch', true) },
  {
    Get: (call, answer) => answer(null, Buffer.from(`order ${call.request} for ${caller(call)}, by ${name}`)),
    Watch(call) {
      for (const state of ['paid', 'packed', 'sent']) call.write(Buffer.from(`order ${call.request} is ${state}`))
      call.end()
    },
  },
)
const serving = Buffer.from([0x08, 0x01]) // HealthCheckResponse{status: SERVING}
server.addService({ Check: method('/grpc.health.v1.Health/Check', false) }, { Check: (_, answer) => answer(null, serving) })
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (err) => {
  if (err) throw err
})
