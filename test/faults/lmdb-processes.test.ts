import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type CompiledSources, compileSources } from './compile-sources.js'
import { titled } from './fault-kit.js'
import { mountMissing, onSmallDisk } from './mounted.js'

let sources: CompiledSources
let path: string
const owners: Owner[] = []

beforeAll(async () => {
  sources = await compileSources()
})
beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'holdfast-processes-'))
})
afterEach(async () => {
  for (const owner of owners.splice(0)) await owner.kill()
  await rm(path, { recursive: true })
})

/** A process that does with the store what it is told. */
class Owner {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  static async start(store: string): Promise<Owner> {
    const script = sources.pathOf('test/faults/children/lmdb-owner.ts')
    const child = spawn(process.execPath, [script, store], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    await once(child, 'message')
    const owner = new Owner(child)
    owners.push(owner)
    return owner
  }

  async tell(line: string): Promise<string> {
    const child = this.#child
    return await new Promise((resolve) => {
      const died = (code: number | null, signal: string | null) => resolve(`died of ${signal ?? code}`)
      child.once('exit', died)
      child.once('message', (answer) => {
        child.off('exit', died)
        resolve(answer as string)
      })
      child.send(line)
    })
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }
}

describe('a store and several processes', () => {
  it('has one writer, until that closes it or dies', async () => {
    const first = await Owner.start(path)
    const second = await Owner.start(path)
    expect(await first.tell('open')).toBe('opened')
    expect(await second.tell('open')).toBe('FENCED')
    await first.tell('put a 1')
    await first.tell('flush')
    await first.tell('put a 2')
    await first.kill()
    expect(await second.tell('open')).toBe('opened')
    expect(await second.tell('get a')).toBe('1')
    expect(await second.tell('put a 3')).toBe('done')
    expect(await second.tell('close')).toBe('done')
    const third = await Owner.start(path)
    expect(await third.tell('open')).toBe('opened')
    expect(await third.tell('get a')).toBe('3')
  })

  it('shows readers what was flushed, beside the writer and after its death', async () => {
    const writer = await Owner.start(path)
    const reader = await Owner.start(path)
    expect(await reader.tell('read')).toBe('STORAGE_ERROR')
    await writer.tell('open')
    expect(await reader.tell('read')).toBe('opened')
    await writer.tell('put a 1')
    expect(await reader.tell('get a')).toBe('nothing')
    await writer.tell('flush')
    expect(await reader.tell('get a')).toBe('1')
    expect(await reader.tell('put a 2')).toBe('INVALID_ARGUMENT')
    await writer.tell('put a 3')
    await writer.kill()
    expect(await reader.tell('get a')).toBe('1')
    const next = await Owner.start(path)
    await next.tell('open')
    await next.tell('put a 4')
    await next.tell('flush')
    expect(await reader.tell('get a')).toBe('4')
  })

  it('does not mind readers that die', async () => {
    const writer = await Owner.start(path)
    await writer.tell('open')
    for (let i = 0; i < 5; i++) {
      const reader = await Owner.start(path)
      expect(await reader.tell('read')).toBe('opened')
      await reader.tell('get a')
      await reader.kill()
      await writer.tell(`put a ${i}`)
      expect(await writer.tell('flush')).toBe('done')
    }
    expect(await writer.tell('close')).toBe('done')
  })
})

const missing = mountMissing()

describe.skipIf(missing !== undefined)(titled('a new store on a disk that is nearly full', missing), () => {
  it('is opened, or STORAGE_ERROR, whatever is left', async () => {
    const outcomes: string[] = []
    for (let size = 8; size <= 512; size += size < 256 ? 8 : 64) {
      await onSmallDisk(`size=${size}k`, async (folder) => {
        const owner = await Owner.start(join(folder, 'store'))
        outcomes.push(await owner.tell('open'))
        await owner.kill()
      })
    }
    expect(new Set(outcomes)).toEqual(new Set(['STORAGE_ERROR', 'opened']))
  })
})
