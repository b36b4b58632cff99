// What lies between a client and a server, and breaks.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

/** Passes bytes on to a server; may cut what is connected, before or behind the server, and hold answers back. */
export class Proxy {
  readonly #server: Server
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  cuts = 0
  delayMs = 0
  /** Whether a request, as its bytes have it, is not answered any more, though the server gets it: behind its answer, or before it by so long. */
  losesAnswerTo: (request: string) => 'answer' | 'request' | number | undefined = () => undefined
  lost = 0
  /** Where connections that are made from now on go. */
  port: number

  constructor(port: number) {
    this.port = port
    this.#server = createServer((near) => {
      const far = connect(this.port, '127.0.0.1')
      const pair = [near, far] as const
      this.#pairs.add(pair)
      let isLosing = false
      near.on('data', (data) => {
        if (isLosing) return
        const losing = this.losesAnswerTo(data.toString('latin1'))
        if (losing !== undefined) {
          isLosing = true
          this.lost++
          if (losing === 'request') return void near.destroy()
          if (typeof losing === 'number') return this.#loseBefore(pair, data, losing)
        }
        far.write(data)
      })
      far.on('data', (data) => {
        if (isLosing) near.destroy()
        else if (this.delayMs === 0) near.write(data)
        else setTimeout(() => near.write(data), this.delayMs)
      })
      for (const socket of pair) {
        socket.on('error', () => {})
        socket.on('close', () => {
          if (!this.#pairs.delete(pair)) return
          near.destroy()
          far.destroy()
        })
      }
    })
  }

  /** Returns the port. */
  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
    return (this.#server.address() as AddressInfo).port
  }

  /** Cuts every connection: what is under way arrives or not, its answers do not. */
  cut(side: 'near' | 'far'): void {
    for (const [near, far] of this.#pairs) (side === 'near' ? near : far).destroy()
    this.cuts++
  }

  /** The connection is lost at once, and the server gets the request later. */
  #loseBefore(pair: readonly [Socket, Socket], request: Buffer, ms: number): void {
    const [near, far] = pair
    this.#pairs.delete(pair)
    near.destroy()
    setTimeout(() => far.end(request), ms)
  }

  close(): void {
    this.#server.close()
    for (const [near, far] of this.#pairs) {
      near.destroy()
      far.destroy()
    }
  }
}
