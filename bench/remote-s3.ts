// S3: checkpoints beside those to files on the same disk, and a restore over a link with latency beside a plain download of the same bytes.

import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { S3 } from '@aws-sdk/client-s3'
import {
  CheckpointCoordinator,
  type CheckpointStorage,
  FileCheckpointStorage,
  MemoryStateBackend,
} from 'holdfast'
import { S3CheckpointStorage } from 'holdfast/s3'
import { fillValue, keyText, VALUE_BYTES } from './checkpoint-state.js'
import { type Figure, turns } from './remote-turns.js'

const LATENCY_MS = 50
const RANGE_BYTES = 4 * 1024 * 1024
const RANGES_IN_FLIGHT = 8
const WRITE_BYTES = 256 * 1024
const LARGE_VALUE_BYTES = 1_000
const credentials = { accessKeyId: 'test', secretAccessKey: 'testsecret' }

export interface S3Options {
  readonly address: string
  /** Entries of the checkpoint that is made. */
  readonly entries: number
  /** Bytes of the checkpoint that is restored. */
  readonly restoredBytes: number
  /** What the link of the restore carries, in Mbit/s; 0: as much as this machine passes on. */
  readonly linkMbit: number
  /** Which of the two to measure; left out: both. */
  readonly row?: 'made' | 'restored' | undefined
  readonly runs: number
}

const bucketAt = (endpoint: string, prefix: string) =>
  new S3CheckpointStorage({ bucket: 'bucket', prefix, endpoint, credentials })

export async function* s3Figures(options: S3Options): AsyncGenerator<Figure> {
  if (options.row !== 'restored') yield await made(options)
  if (options.row !== 'made') yield await restored(options)
}

/**
 * A checkpoint of so many entries, whole each time; and what as many bytes take there that are made already: to be written and read back, and what of
 * that comes behind the last one of them. An object is there when its last part is, so that none of that can go on beside the making.
 */
async function made({ address, entries, runs }: S3Options): Promise<Figure> {
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-bench-remote-'))
  const backend = new MemoryStateBackend()
  const value = Buffer.alloc(VALUE_BYTES)
  for (let i = 0; i < entries; i++) {
    fillValue(value, i)
    backend.putSync(Buffer.from(keyText(i), 'latin1'), value)
  }
  const coordinatorOn = (storage: CheckpointStorage) =>
    new CheckpointCoordinator(backend, { storage, incremental: false, maxCheckpoints: 1 })
  const onFiles = coordinatorOn(new FileCheckpointStorage(directory))
  const onS3 = coordinatorOn(bucketAt(address, 'made'))
  const plain = await plainObjects(bucketAt(address, 'plain'))
  try {
    const { sizeBytes } = await onS3.createCheckpoint()
    const content = randomBytes(sizeBytes)
    return await turns(
      `S3, a checkpoint of ${entries} entries`,
      [
        { name: 'files', run: () => onFiles.createCheckpoint() },
        { name: 'S3', run: () => onS3.createCheckpoint() },
        {
          name: 'S3, its bytes alone',
          run: async () => {
            await plain.write(content)
            await plain.readBack()
          },
        },
        {
          name: 'S3, its bytes alone, from the last one on',
          prepare: () => plain.write(content),
          run: () => plain.readBack(),
        },
      ],
      { operations: entries, runs },
    )
  } finally {
    await Promise.all([onFiles.shutdown(), onS3.shutdown(), plain.release()])
    await backend.close()
    await rm(directory, { recursive: true, force: true })
  }
}

interface PlainObjects {
  /** Hands on the bytes of one object. */
  write(content: Uint8Array): Promise<void>
  /** Waits until all of them are there, and reads them in as many ranges side by side as a restore does. */
  readBack(): Promise<void>
  release(): Promise<void>
}

async function plainObjects(storage: CheckpointStorage): Promise<PlainObjects> {
  const lease = await storage.acquire()
  let writer: Awaited<ReturnType<typeof lease.create>> | undefined
  return {
    async write(content) {
      writer = await lease.create('plain')
      for (let at = 0; at < content.length; at += WRITE_BYTES) {
        await writer.write(content.subarray(at, at + WRITE_BYTES))
      }
    },
    async readBack() {
      await writer?.commit()
      const reader = await storage.open('plain')
      if (reader === undefined) throw new Error('what was written is not there')
      await sideBySide(rangesOf(reader.sizeBytes), ({ offset, length }) => reader.read(offset, length))
      await reader.close()
      await lease.remove('plain')
    },
    release: () => lease.release(),
  }
}

/** A restore of so many bytes, which do not compress, over a link. */
async function restored({ address, restoredBytes, linkMbit, runs }: S3Options): Promise<Figure> {
  const operations = Math.ceil(restoredBytes / (LARGE_VALUE_BYTES + 30))
  await publish(address, operations)
  const bytesPerMs = (linkMbit * 1e6) / 8 / 1_000
  const args = [new URL(address).port, String(LATENCY_MS), String(bytesPerMs)]
  const link = fork(new URL('./remote-link.js', import.meta.url), args)
  const speed = linkMbit === 0 ? '' : ` and ${linkMbit} Mbit/s`
  try {
    const [port] = (await once(link, 'message')) as [number]
    const far = `http://127.0.0.1:${port}`
    return await turns(
      `S3, a restore of ${(restoredBytes / 1e6).toFixed(0)} MB over a link of ${LATENCY_MS} ms${speed}`,
      [
        { name: `ranges of ${RANGE_BYTES} bytes, ${RANGES_IN_FLIGHT} in flight`, run: () => download(far) },
        {
          name: 'restoreLatest',
          run: async () => {
            const backend = new MemoryStateBackend()
            const coordinator = new CheckpointCoordinator(backend, { storage: bucketAt(far, 'restored') })
            const found = await coordinator.restoreLatest()
            if (found?.entryCount !== operations || (await backend.count()) !== operations)
              throw new Error('the restored state is wrong')
            await backend.close()
          },
        },
      ],
      { operations, runs },
    )
  } finally {
    link.disconnect()
  }
}

async function publish(address: string, entries: number): Promise<void> {
  const backend = new MemoryStateBackend()
  const value = Buffer.alloc(LARGE_VALUE_BYTES)
  let mixed = 1
  for (let i = 0; i < entries; i++) {
    for (let at = 0; at < value.length; at += 4) {
      mixed = (Math.imul(mixed, 1_664_525) + 1_013_904_223) >>> 0
      value.writeUInt32LE(mixed, at)
    }
    backend.putSync(Buffer.from(keyText(i), 'latin1'), value)
  }
  const coordinator = new CheckpointCoordinator(backend, { storage: bucketAt(address, 'restored') })
  await coordinator.createCheckpoint()
  await coordinator.shutdown()
  await backend.close()
}

/** A plain download: ranges of the large objects, as many at a time as a restore asks for, whose bytes are counted and thrown away as they come. */
async function download(endpoint: string): Promise<void> {
  const client = new S3({
    endpoint,
    region: 'us-east-1',
    credentials,
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  const { Contents: objects = [] } = await client.listObjectsV2({ Bucket: 'bucket', Prefix: 'restored/' })
  let bytes = 0
  const ranges = objects.flatMap(({ Key, Size = 0 }) => rangesOf(Size).map((range) => ({ Key, ...range })))
  await sideBySide(ranges, async ({ Key, offset, length }) => {
    const Range = `bytes=${offset}-${offset + length - 1}`
    const { Body } = await client.getObject({ Bucket: 'bucket', Key, Range })
    for await (const piece of Body as AsyncIterable<Uint8Array>) bytes += piece.length
  })
  client.destroy()
  const size = objects.reduce((sum, { Size = 0 }) => sum + Size, 0)
  if (bytes !== size) throw new Error(`${bytes} bytes came, of ${size}`)
}

interface Range {
  readonly offset: number
  readonly length: number
}

const rangesOf = (sizeBytes: number): Range[] =>
  Array.from({ length: Math.ceil(sizeBytes / RANGE_BYTES) }, (_, i) => ({
    offset: i * RANGE_BYTES,
    length: Math.min(RANGE_BYTES, sizeBytes - i * RANGE_BYTES),
  }))

/** Reads of ranges, as many at a time as a restore asks for. */
async function sideBySide<Of extends Range>(
  ranges: readonly Of[],
  read: (range: Of) => Promise<unknown>,
): Promise<void> {
  const next = ranges.values()
  const readInTurn = async () => {
    for (const range of next) await read(range)
  }
  await Promise.all(Array.from({ length: RANGES_IN_FLIGHT }, readInTurn))
}
