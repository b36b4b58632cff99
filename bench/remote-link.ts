// A link with latency, as a process of its own: passes bytes on to a port of this machine, and holds back what comes from there.
//
//   fork('remote-link.js', [PORT, LATENCY_MS, BYTES_PER_MS])      tells its own port; 0 bytes: as many as this machine passes on

import { type AddressInfo, connect, createServer } from 'node:net'

const [port, latencyMs = 0, bytesPerMs = 0] = process.argv.slice(2).map(Number)

/** When the link has sent what it was given so far. */
let freeMs = 0

/** How long bytes are under way: what was given before goes first, on whatever connection. */
function delayOf(bytes: number): number {
  const nowMs = performance.now()
  freeMs = Math.max(nowMs, freeMs) + (bytesPerMs === 0 ? 0 : bytes / bytesPerMs)
  return freeMs - nowMs + latencyMs
}

const link = createServer((near) => {
  const far = connect(port as number, '127.0.0.1')
  near.pipe(far)
  far.on('data', (bytes) => void setTimeout(() => near.write(bytes), delayOf(bytes.length)))
  far.on('end', () => void setTimeout(() => near.end(), delayOf(0)))
  for (const socket of [near, far])
    socket.setNoDelay(true).on('error', () => {
      near.destroy()
      far.destroy()
    })
})
link.listen(0, '127.0.0.1', () => process.send?.((link.address() as AddressInfo).port))
process.on('disconnect', () => process.exit())
