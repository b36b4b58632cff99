// A link with latency, as a process of its own: passes bytes on to a port of this machine, and holds back what comes from there.
//
//   fork('remote-link.js', [PORT, LATENCY_MS, BYTES_PER_MS])      tells its own port; 0 bytes: as many as this machine passes on

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

const [port, latencyMs = 0, bytesPerMs = 0] = process.argv.slice(2).map(Number)

/** When the link has sent what it was given so far, on whatever connection. */
let freeMs = 0

/** Hands on what comes from one connection, in its order: timers of different lengths do not keep one. */
class Delayed {
  readonly #near: Socket
  readonly #underWay: { readonly dueMs: number; readonly bytes: Uint8Array | undefined }[] = []
  #isWaiting = false

  constructor(near: Socket) {
    this.#near = near
  }

  /** `undefined`: the end. */
  add(bytes: Uint8Array | undefined): void {
    const sendingMs = bytes === undefined || bytesPerMs === 0 ? 0 : bytes.length / bytesPerMs
    freeMs = Math.max(performance.now(), freeMs) + sendingMs
    this.#underWay.push({ dueMs: freeMs + latencyMs, bytes })
    this.#wait()
  }

  #wait(): void {
    const [next] = this.#underWay
    if (this.#isWaiting || next === undefined) return
    this.#isWaiting = true
    setTimeout(() => this.#handOn(), next.dueMs - performance.now())
  }

  #handOn(): void {
    this.#isWaiting = false
    while ((this.#underWay[0]?.dueMs ?? Infinity) <= performance.now()) {
      const bytes = this.#underWay.shift()?.bytes
      if (bytes === undefined) this.#near.end()
      else this.#near.write(bytes)
    }
    this.#wait()
  }
}

const link = createServer((near) => {
  const far = connect(port as number, '127.0.0.1')
  const delayed = new Delayed(near)
  near.pipe(far)
  far.on('data', (bytes) => delayed.add(bytes))
  far.on('end', () => delayed.add(undefined))
  for (const socket of [near, far])
    socket.setNoDelay(true).on('error', () => {
      near.destroy()
      far.destroy()
    })
})
link.listen(0, '127.0.0.1', () => process.send?.((link.address() as AddressInfo).port))
process.on('disconnect', () => process.exit())
