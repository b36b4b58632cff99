import { randomUUID } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
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

/** A file, which has its name only when it is whole; stdout without a name, or for `-`. What is there and no file is written to. */
export async function openOutput(file: string | undefined, terminal: Terminal): Promise<Output> {
  if (file === undefined || file === '-') {
    return {
      write: (piece) => terminal.raw(piece),
      commit: async () => {},
      abort: async () => {},
    }
  }
  // A device, or a pipe with a name, must not be replaced by a file.
  const isInPlace = !((await stat(file).catch(() => undefined))?.isFile() ?? true)
  const temporary = isInPlace ? file : join(dirname(file), `.${randomUUID()}.tmp`)
  const handle = await open(temporary, isInPlace ? 'w' : 'wx')
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
      if (!isInPlace) await handle.sync()
      await handle.close()
      if (!isInPlace) await rename(temporary, file)
    },
    abort: async () => {
      await handle.close()
      if (!isInPlace) await rm(temporary, { force: true })
    },
  }
}
