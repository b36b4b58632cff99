import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'

/** The least that a durable write can take: its bytes appended to a file, and one `fdatasync`. */
export class AppendFloor {
  readonly #file: number
  #end = 0

  constructor(path: string) {
    this.#file = openSync(path, 'wx', 0o600)
  }

  append(bytes: Uint8Array): void {
    this.#end += writeSync(this.#file, bytes, 0, bytes.length, this.#end)
    fdatasyncSync(this.#file)
  }

  close(): void {
    closeSync(this.#file)
  }
}
