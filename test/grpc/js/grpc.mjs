// A server and a client of gRPC by @grpc/grpc-js; they speak what ../main.go speaks, but for counting: of this server
// only those calls count as canceled that wait for it, since grpc-js says so of others, too.
//
//   node grpc.mjs serve ADDRESS [CERT KEY]
//   node grpc.mjs play ADDRESS TOKEN NARROW [CA]
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import grpc from '@grpc/grpc-js'

const { status } = grpc
const same = (bytes) => bytes
const method = (name, requestStream, responseStream) => ({
  path: '/test.Echo/' + name,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})
const echo = {
  Unary: method('Unary', false, false),
  Download: method('Download', false, true),
  Upload: method('Upload', true, false),
  Both: method('Both', true, true),
}

function serve(address, cert, key) {
  let canceled = 0
  const server = new grpc.Server({ 'grpc.max_receive_message_length': 8 << 20 })
  server.addService(echo, {
    Unary(call, answer) {
      const word = call.request.toString()
      if (word === 'who') {
        const subject = call.metadata.get('x-jotgate-subject').join(',')
        return answer(null, Buffer.from(`${subject} ${call.metadata.get('authorization').length}`))
      }
      if (word === 'fail') return answer({ code: status.FAILED_PRECONDITION, details: 'no: é\n%' })
      if (word === 'cancel') return answer({ code: status.CANCELLED, details: 'by the server' })
      if (word === 'canceled') return answer(null, Buffer.from(String(canceled)))
      if (word === 'wait') return call.once('cancelled', () => canceled++)
      const head = new grpc.Metadata()
      head.set('x-header', 'h')
      call.sendMetadata(head)
      const trailers = new grpc.Metadata()
      trailers.set('x-trailer', 't')
      trailers.set('data-bin', Buffer.from([0, 255]))
      answer(null, call.request, trailers)
    },
    async Download(call) {
      const endless = call.request.toString() === 'endless'
      if (endless) call.once('cancelled', () => canceled++)
      for (let i = 0; i < 64; i++) {
        const message = Buffer.alloc(64 << 10, 'x')
        message[0] = i
        if (!call.write(message)) await new Promise((go) => call.once('drain', go))
      }
      if (!endless) call.end()
    },
    Upload(call, answer) {
      let total = 0
      let done = false
      call.on('data', (message) => {
        total += message.length
        if (message.toString() === 'slowly') { // what follows waits for the window
          call.pause()
          setTimeout(() => call.resume(), 300)
        }
        if (!done && message.toString() === 'stop') {
          done = true
          answer({ code: status.RESOURCE_EXHAUSTED, details: 'enough' })
        }
      })
      call.on('end', () => done || answer(null, Buffer.from(String(total))))
      call.on('error', () => {})
    },
    Both(call) {
      call.on('error', () => {})
      call.write(Buffer.from('hello'))
      call.on('data', (message) => call.write(message))
      call.on('end', () => call.end())
    },
  })
  const credentials = cert
    ? grpc.ServerCredentials.createSsl(null, [{ cert_chain: readFileSync(cert), private_key: readFileSync(key) }])
    : grpc.ServerCredentials.createInsecure()
  server.bindAsync(address, credentials, (err, port) => {
    if (err) throw err
    console.log(`serving ${address.slice(0, address.lastIndexOf(':'))}:${port}`)
  })
}

class Player {
  constructor(address, token, ca) {
    this.connect = (most) => new grpc.Client(
      address,
      ca ? grpc.credentials.createSsl(readFileSync(ca)) : grpc.credentials.createInsecure(),
      {
        'grpc.max_receive_message_length': most,
        ...(ca ? { 'grpc.ssl_target_name_override': 'gate.test', 'grpc.default_authority': 'gate.test' } : {}),
      },
    )
    this.client = this.connect(8 << 20)
    this.token = token
  }

  metadata(token = this.token) {
    const m = new grpc.Metadata()
    m.set('authorization', 'Bearer ' + token)
    return m
  }

  // unary gives the answer, or the error, with the metadata of both ends.
  unary(word, { client = this.client, options = {}, token, path = '/test.Echo/Unary' } = {}) {
    return new Promise((done) => {
      const result = {}
      const call = client.makeUnaryRequest(path, same, same, Buffer.from(word), this.metadata(token), options,
        (err, answer) => Object.assign(result, { err, answer: answer?.toString() }))
      call.on('metadata', (m) => (result.head = m))
      call.on('status', (s) => done({ ...result, status: s }))
    })
  }

  download(word) {
    return this.client.makeServerStreamRequest('/test.Echo/Download', same, same, Buffer.from(word), this.metadata(), {})
  }

  both() {
    return this.client.makeBidiStreamRequest('/test.Echo/Both', same, same, this.metadata(), {})
  }

  async canceledAt(n) {
    for (let i = 0; i < 1000; i++) {
      if ((await this.unary('canceled')).answer === String(n)) return
      await sleep(10)
    }
    throw new Error('the server does not see it')
  }
}

function must(what, ok, ...seen) {
  if (!ok) throw new Error(`${what}: ${seen.map((s) => String(s?.details ?? s)).join(', ')}`)
}

const code = (call) => new Promise((done) => {
  call.on('error', () => {})
  call.on('status', (s) => done(s.code))
  call.resume?.()
})

const parts = {
  async unary(p) {
    const got = await p.unary('hi')
    must('echo', got.answer === 'hi' && got.head.get('x-header')[0] === 'h', got.err)
    must('trailers', got.status.metadata.get('x-trailer')[0] === 't' &&
      got.status.metadata.get('data-bin')[0].equals(Buffer.from([0, 255])), got.status)
    const who = await p.unary('who')
    must('who', who.answer === 'alice 0', who.answer)
  },
  async errors(p) {
    const { status: s } = await p.unary('fail')
    must('an answer of trailers alone', s.code === status.FAILED_PRECONDITION && s.details === 'no: é\n%', s)
    const { status: by } = await p.unary('cancel')
    must('canceled by the server', by.code === status.CANCELLED && by.details === 'by the server', by)
  },
  async download(p) {
    const call = p.download('x')
    await sleep(300) // a slow reader: 4 MiB wait for the window
    let i = 0
    for await (const message of call) {
      must(`message ${i}`, message.length === 64 << 10 && message[0] === i, message.length)
      i++
    }
    must('messages', i === 64, i)
  },
  async upload(p) {
    const sent = (messages) => new Promise((done) => {
      const call = p.client.makeClientStreamRequest('/test.Echo/Upload', same, same, p.metadata(), {},
        (err, answer) => done({ err, answer: answer?.toString() }))
      for (const m of messages) call.write(m)
      if (messages.length > 1) call.end()
    })
    const slowly = Buffer.from('slowly')
    const whole = await sent([slowly, ...Array.from({ length: 64 }, () => Buffer.alloc(64 << 10, 'x'))])
    must('sum', whole.answer === String(slowly.length + 64 * (64 << 10)), whole.answer, whole.err)
    const early = await sent([Buffer.from('stop')])
    must('an early end', early.err?.code === status.RESOURCE_EXHAUSTED, early.err)
  },
  async both(p) {
    const call = p.both()
    const messages = call[Symbol.asyncIterator]()
    must('the server speaks first', (await messages.next()).value.toString() === 'hello')
    for (let i = 0; i < 100; i++) {
      call.write(Buffer.from(String(i)))
      must('echo', (await messages.next()).value.toString() === String(i), i)
    }
    call.end()
    must('the end', (await messages.next()).done)
  },
  async deadline(p) {
    const got = await p.unary('wait', { options: { deadline: Date.now() + 300 } })
    must('deadline', got.status.code === status.DEADLINE_EXCEEDED, got.status)
    await p.canceledAt(1)
  },
  async cancel(p) {
    const endless = p.download('endless')
    const ended = code(endless)
    await new Promise((go) => endless.once('data', go))
    endless.cancel()
    must('cancelled', (await ended) === status.CANCELLED)
    await p.canceledAt(2)
  },
  async many(p) {
    const calls = Array.from({ length: 1000 }, () => p.both())
    const heard = calls.map((call) => call[Symbol.asyncIterator]())
    for (const h of heard) must('hello', (await h.next()).value.toString() === 'hello')
    calls.forEach((call, i) => call.write(Buffer.from(String(i))))
    for (const [i, h] of heard.entries()) must('echo', (await h.next()).value.toString() === String(i), i)
    for (const call of calls) call.end()
    for (const h of heard) must('the end', (await h.next()).done)
  },
  async large(p) {
    const word = 'large '.repeat(1 << 20)
    must('6 MiB', (await p.unary(word)).answer === word)
    const over = await p.unary('x'.repeat(9 << 20))
    must("over the server's limit", over.status.code === status.RESOURCE_EXHAUSTED, over.status)
    const client = p.connect(1000)
    const { status: s } = await p.unary('x'.repeat(2000), { client })
    must("over the client's limit", s.code === status.RESOURCE_EXHAUSTED, s)
    client.close()
  },
  async refusals(p, narrow) {
    for (const [token, path, want] of [
      ['nonsense', '/test.Echo/Unary', status.UNAUTHENTICATED],
      [narrow, '/test.Echo/Unary', status.PERMISSION_DENIED],
      [p.token, '/test.Other/Unary', status.UNIMPLEMENTED],
      [p.token, '/test.Gone/Unary', status.UNAVAILABLE],
    ]) {
      const { status: s } = await p.unary('hi', { token, path })
      must(path, s.code === want, s)
    }
  },
}

const [verb, address, ...rest] = process.argv.slice(2)
if (verb === 'serve') {
  serve(address, ...rest)
} else {
  const [token, narrow, ca] = rest
  const player = new Player(address, token, ca)
  for (const [name, play] of Object.entries(parts)) {
    try {
      await play(player, narrow)
    } catch (err) {
      console.error(`${name}: ${err.stack}`)
      process.exit(1)
    }
    console.log(name, 'ok')
  }
  player.client.close()
}
