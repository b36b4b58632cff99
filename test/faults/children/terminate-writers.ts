// Terminates threads in the middle of writing to a store, one after the other, each with a store of its own, and says of which it has ended.
// As a thread: writes until it is terminated.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { type EntryBlock, EntryBlockBuilder } from '../../../src/backend/entry-block.js'
import { LmdbStateBackend } from '../../../src/lmdb/lmdb-state-backend.js'

const REPLACED_ENTRIES = 20_000
const bytes = (text: string) => Buffer.from(text)

interface WriterData {
  readonly kind: 'put' | 'replace'
  readonly path: string
}

if (isMainThread) {
  const [kind, folder, from, until] = process.argv.slice(2) as [WriterData['kind'], string, string, string]
  for (let round = Number(from); round < Number(until); round++) await terminate(kind, folder, round)
} else {
  await write(workerData as WriterData)
}

async function terminate(kind: WriterData['kind'], folder: string, round: number): Promise<void> {
  const path = join(folder, `${round}`)
  const thread = new Worker(fileURLToPath(import.meta.url), {
    workerData: { kind, path } satisfies WriterData,
  })
  await once(thread, 'message')
  await delay(kind === 'put' ? 20 * (round % 20) : 40 + 67 * (round % 10))
  assert.equal(await thread.terminate(), 1)
  const again = await LmdbStateBackend.open({ path })
  if (kind === 'replace') assert.ok([0, REPLACED_ENTRIES].includes(await again.count()))
  again.putSync(bytes('k'), bytes('1'))
  await again.close()
  console.log(round)
}

async function write({ kind, path }: WriterData): Promise<void> {
  const backend = await LmdbStateBackend.open({ path })
  parentPort?.postMessage('writing')
  for (let i = 0; ; i++) {
    if (kind === 'replace') {
      await backend.replaceAll(content(), i % 2 === 0 ? {} : { range: { prefix: bytes('k') } })
    } else {
      backend.putSync(bytes(`k${i % 1_000}`), Buffer.alloc(100))
      if (i % 1_000 === 0) await backend.flush()
    }
  }
}

async function* content(): AsyncGenerator<EntryBlock, undefined> {
  const builder = new EntryBlockBuilder(64 * 1024)
  const value = Buffer.alloc(100)
  for (let i = 0; i < REPLACED_ENTRIES; i++) {
    const key = bytes(`k${String(i).padStart(6, '0')}`)
    builder.add(key, value, i % 2 === 0 ? Infinity : 2 ** 50)
    if (builder.full) yield builder.take()
  }
  if (builder.entryCount > 0) yield builder.take()
}
