import { randomUUID } from 'node:crypto'
import { open, realpath, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileError } from '../view/file-failure.js'
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
  const attempt = async <Result>(step: Promise<Result>): Promise<Result> => {
    try {
      return await step
    } catch (error) {
      throw fileError(file, error)
    }
  }
  // A link stays one: what it leads to is written.
  const target = await realpath(file).catch(() => file)
  // A device, or a pipe with a name, must not be replaced by a file.
  const isInPlace = !((await stat(target).catch(() => undefined))?.isFile() ?? true)
  const temporary = isInPlace ? target : join(dirname(target), `.${randomUUID()}.tmp`)
  const handle = await attempt(open(temporary, isInPlace ? 'w' : 'wx'))
  let pending = ''
  const flush = async () => {
    const text = pending
    pending = ''
    if (text !== '') await attempt(handle.writeFile(text))
  }
  return {
    write: async (piece) => {
      if (typeof piece === 'string') {
        pending += piece
        if (pending.length >= PIECE_CHARACTERS) await flush()
      } else {
        await flush()
        await attempt(handle.writeFile(piece))
      }
    },
    commit: async () => {
      await flush()
      if (!isInPlace) await attempt(handle.sync())
      await attempt(handle.close())
      if (!isInPlace) await attempt(rename(temporary, target))
    },
    abort: async () => {
      await handle.close()
      if (!isInPlace) await rm(temporary, { force: true })
    },
  }
}
