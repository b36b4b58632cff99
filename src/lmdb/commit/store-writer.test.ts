import { mkdtemp, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { EntryBlockBuilder } from '../../backend/entry-block.js'
import { leaseFileName } from '../../files/file-names.js'
import { openEnvironment } from '../store/environment.js'
import { StoreDirectory } from '../store/store-directory.js'
import { type ReplacingBlock, StoreWriter } from './store-writer.js'

let folder: string
let directory: StoreDirectory
let writer: StoreWriter

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-test-'))
  const options = { readOnly: false, waitForOwnerMs: 0, takeOver: false, commitTimeoutMs: 30_000 }
  directory = await StoreDirectory.open(join(folder, 'store'), options)
  const { dataPath, leaseMark: lease } = directory
  await openEnvironment(dataPath, { readOnly: false, create: true }).close()
  // Every block is a commit of its own.
  writer = await StoreWriter.open({
    dataPath,
    lease,
    compression: 'none',
    replaceBytes: 1,
    terminable: false,
  })
})

afterEach(async () => {
  await writer.close()
  await directory.release()
  await rm(folder, { recursive: true })
})

function blockOf(key: string): ReplacingBlock {
  const builder = new EntryBlockBuilder(1024)
  builder.add(Buffer.from(key), Buffer.from('value'), Infinity)
  return { bytes: builder.take().bytes, isPrepared: false }
}

describe('the writer of a store', () => {
  it('commits nothing more after a transaction that has failed, whatever waits for it, and says why', async () => {
    await writer.beginReplace()
    await writer.replaceBlock(blockOf('a'))
    const lease = join(directory.path, leaseFileName(directory.leaseMark.token))
    await rename(lease, join(folder, 'aside'))
    await expect(writer.replaceBlock(blockOf('b'))).rejects.toMatchObject({ code: 'FENCED' })
    // As if nothing had been: all would go well now.
    await rename(join(folder, 'aside'), lease)
    const fenced = { code: 'FENCED' }
    await expect(writer.replaceBlock(blockOf('c'))).rejects.toMatchObject(fenced)
    await expect(writer.abandonReplace()).rejects.toMatchObject(fenced)
    const commit = { segments: [], cleared: false, clockMs: 1, log: undefined }
    await expect(writer.commit(commit)).rejects.toMatchObject(fenced)
    expect(writer.status()).toMatchObject({ entries: 0, flushSequence: 0 })
  })
})
