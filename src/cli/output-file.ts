import { randomUUID } from 'node:crypto'
import { open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Terminal } from './terminal.js'

/** Where an export goes. */
export interface Output {
  write(piece: string | Uint8Array): Promise<void>
  /** All was written: a file gets its name. */
  commit(): Promise<void>
  /** Nothing is left. */
  abort(): Promise<void>
}

/** Text is handed on in pieces of about this size. */
const PIECE_CHARACTERS = 256 * 1024

/** A file, which has its name only when it is whole; stdout without a name. */
export async function openOutput(file: string | undefined, terminal: Terminal): Promise<Output> {
  if (file === undefined) {
    return {
      write: (piece) => terminal.raw(piece),
      commit: async () => {},
      abort: async () => {},
    }
  }
  const temporary = join(dirname(file), `.${randomUUID()}.tmp`)
  const handle = await open(temporary, 'wx')
  let pending = ''
  const flush = async () => {
    const text = pending
    pending = ''
    if (text !== '') await handle.writeFile(text)
  }
  return {
    write: async (piece) => {
      if (typeof piece === 'string') {
        pending += piece
        if (pending.length >= PIECE_CHARACTERS) await flush()
      } else {
        await flush()
        await handle.writeFile(piece)
      }
    },
    commit: async () => {
      await flush()
      await handle.sync()
      await handle.close()
      await rename(temporary, file)
    },
    abort: async () => {
      await handle.close()
      await rm(temporary, { force: true })
    },
  }
}
