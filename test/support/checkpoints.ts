import { type EntryBlock, EntryBlockBuilder, EntryBlockCursor } from '../../src/backend/entry-block.js'
import { compareBytes } from '../../src/base/bytes.js'
import { sequenceOf } from '../../src/checkpoint/format/object-names.js'
import { sealJson } from '../../src/checkpoint/format/sealed-json.js'
import type { SegmentRole } from '../../src/checkpoint/format/segment-format.js'
import { type ExpectedSegment, SegmentReader } from '../../src/checkpoint/format/segment-reader.js'
import { SegmentWriter } from '../../src/checkpoint/format/segment-writer.js'
import { blockCodec, type CodecName } from '../../src/codec/block-codec.js'
import type { CheckpointStorage, StorageLease } from '../../src/storage/checkpoint-storage.js'
import type { MemoryCheckpointStorage } from '../../src/storage/memory-checkpoint-storage.js'

/** An entry in tests; `value` undefined is a tombstone. */
export interface TestEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array | undefined
  readonly expiresAtMs: number
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text)
}

export function textOf(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString('utf8')
}

export function entry(key: string, value: string | undefined, expiresAtMs: number = Infinity): TestEntry {
  return { key: bytesOf(key), value: value === undefined ? undefined : bytesOf(value), expiresAtMs }
}

/** Sorted, and the last of equal keys only. */
export function sortedEntries(entries: readonly TestEntry[]): TestEntry[] {
  const byKey = new Map(entries.map((each) => [Buffer.from(each.key).toString('latin1'), each]))
  return [...byKey.values()].sort((left, right) => compareBytes(left.key, right.key))
}

/** Entries, which must be sorted, as blocks. */
export function blocksOf(entries: readonly TestEntry[], targetBytes = 100): EntryBlock[] {
  const builder = new EntryBlockBuilder(targetBytes)
  const blocks: EntryBlock[] = []
  for (const { key, value, expiresAtMs } of entries) {
    if (value === undefined) builder.addTombstone(key)
    else builder.add(key, value, expiresAtMs)
    if (builder.full) blocks.push(builder.take())
  }
  if (builder.entryCount > 0) blocks.push(builder.take())
  return blocks
}

export function entriesOf(blocks: readonly EntryBlock[]): TestEntry[] {
  return blocks.flatMap((block) => {
    const cursor = new EntryBlockCursor(block.bytes)
    const entries: TestEntry[] = []
    while (cursor.next()) {
      const value = cursor.tombstone ? undefined : cursor.value().slice()
      entries.push({ key: cursor.key().slice(), value, expiresAtMs: cursor.expiresAtMs })
    }
    return entries
  })
}

/** Entries in a form that compares and prints well. */
export function shown(entries: readonly TestEntry[]): string[] {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex')
  return entries.map(({ key, value, expiresAtMs }) =>
    value === undefined ? `${hex(key)} deleted` : `${hex(key)}=${hex(value)} until ${expiresAtMs}`,
  )
}

export async function* streamOf<T>(items: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* items
}

export async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of stream) items.push(item)
  return items
}

export async function writeTestSegment(
  storage: CheckpointStorage,
  name: string,
  blocks: readonly EntryBlock[],
  codec: CodecName = 'none',
  role: SegmentRole = 'base',
): Promise<ExpectedSegment> {
  return await asOwner(storage, async (lease) => {
    const output = await lease.create(name)
    const writer = new SegmentWriter(output, blockCodec(codec), role)
    for (const block of blocks) await writer.append(block)
    const { sizeBytes, rawBytes, entryCount, sha256 } = await writer.finish()
    await output.commit()
    return { role, sizeBytes, rawBytes, entryCount, sha256 }
  })
}

/** Changes every lease that a storage hands out from now on: to make its calls fail, or wait. */
export function patchLeases(storage: CheckpointStorage, patch: (lease: StorageLease) => void): void {
  const acquire = storage.acquire.bind(storage)
  storage.acquire = async (options) => {
    const lease = await acquire(options)
    patch(lease)
    return lease
  }
}

/** Owns a storage for one action. */
export async function asOwner<T>(
  storage: CheckpointStorage,
  action: (lease: StorageLease) => Promise<T>,
): Promise<T> {
  const lease = await storage.acquire()
  try {
    return await action(lease)
  } finally {
    await lease.release()
  }
}

/** Every entry of a segment, verified. */
export async function readTestSegment(
  storage: CheckpointStorage,
  name: string,
  expected?: ExpectedSegment,
): Promise<TestEntry[]> {
  const object = await storage.open(name)
  if (object === undefined) throw new Error(`there is no ${name}`)
  try {
    const reader = await SegmentReader.open(object, name, expected)
    return entriesOf(await collect(reader.blocks()))
  } finally {
    await object.close()
  }
}

/** All bytes of an object. */
export async function bytesIn(storage: CheckpointStorage, name: string): Promise<Uint8Array> {
  const bytes = await storage.read(name, 100_000_000)
  if (bytes === undefined) throw new Error(`there is no ${name}`)
  return bytes
}

export async function namesIn(storage: CheckpointStorage): Promise<string[]> {
  return (await storage.list()).map((object) => object.name).sort()
}

/** Changes members of a sealed JSON object and seals it again: a liar's manifest. */
export async function rewriteSealed(
  storage: MemoryCheckpointStorage,
  name: string,
  change: (content: Record<string, unknown>) => void,
): Promise<void> {
  const content = JSON.parse(textOf(await bytesIn(storage, name)) ?? '') as Record<string, unknown>
  delete content['checksum']
  change(content)
  storage.tamper(name, sealJson(content).bytes)
}

/** An id as the brand wants it. */
export function sequenceIn(id: string): number {
  return sequenceOf(id) ?? Number.NaN
}
