import { FileFailure } from '../view/file-failure.js'

/** The part of a process's streams that is used. */
export interface Streams {
  readonly stdout: NodeJS.WriteStream
  readonly stderr: NodeJS.WriteStream
}

/** Where results go, until nobody takes them any more. */
export class Outlet {
  readonly #closing = new AbortController()
  readonly #stdout: NodeJS.WriteStream
  #failure: Error | undefined

  constructor({ stdout, stderr }: Streams) {
    this.#stdout = stdout
    stdout.on('error', (error: NodeJS.ErrnoException) => {
      // A reader that has seen enough, such as `head`, closes the pipe: that is no failure.
      if (error.code !== 'EPIPE') this.#failure ??= new FileFailure('stdout', error)
      this.#closing.abort()
    })
    // Notes that nobody reads are no failure either.
    stderr.on('error', () => {})
  }

  /** Fires when nothing more is taken. */
  get closed(): AbortSignal {
    return this.#closing.signal
  }

  /** Why not, where it is not that the reader has seen enough. */
  get failure(): Error | undefined {
    return this.#failure
  }

  /** Resolves when everything that was handed on was taken, or nothing more is. */
  async ended(): Promise<void> {
    await new Promise<void>((resolve) => this.#stdout.write('', () => resolve()))
  }

  /** Hands a piece on, and waits for a reader that is slow. What nobody takes any more is dropped. */
  async write(piece: string | Uint8Array): Promise<void> {
    const { closed } = this
    if (closed.aborted || this.#stdout.write(piece)) return
    await new Promise<void>((resolve) => {
      const end = () => {
        this.#stdout.off('drain', end)
        closed.removeEventListener('abort', end)
        resolve()
      }
      this.#stdout.once('drain', end)
      closed.addEventListener('abort', end)
    })
  }
}
