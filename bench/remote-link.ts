// A link with latency, as a process of its own: passes bytes on to a port of this machine, and holds back what comes from there.
//
//   fork('remote-link.js', [PORT, LATENCY_MS])      tells its own port

import { type AddressInfo, connect, createServer } from 'node:net'

const [port, latencyMs] = process.argv.slice(2).map(Number)

const link = createServer((near) => {
  const far = connect(port as number, '127.0.0.1')
  near.pipe(far)
  // Whatever is under way is so for the same time: a link has latency, and no limit to what it carries.
  far.on('data', (bytes) => void setTimeout(() => near.write(bytes), latencyMs))
  far.on('end', () => void setTimeout(() => near.end(), latencyMs))
  for (const socket of [near, far])
    socket.setNoDelay(true).on('error', () => {
      near.destroy()
      far.destroy()
    })
})
link.listen(0, '127.0.0.1', () => process.send?.((link.address() as AddressInfo).port))
process.on('disconnect', () => process.exit())
