import type { CheckpointStorage, EntryBlock, ObjectReader } from '../index.js'
import type { Progress } from './progress.js'

/** The blocks as they are, with the bar moved on by each. */
export async function* counted(
  blocks: AsyncIterable<EntryBlock>,
  progress: Progress,
): AsyncGenerator<EntryBlock, void, undefined> {
  let entries = 0
  for await (const block of blocks) {
    yield block
    entries += block.entryCount
    progress.advance(entries)
  }
}

/** How many entries there are: reads all of them. */
export async function entriesOf(blocks: AsyncIterable<EntryBlock>): Promise<number> {
  let entries = 0
  for await (const { entryCount } of blocks) entries += entryCount
  return entries
}

/** The storage as it is; `onRead` is told how many bytes of its files were read. */
export function countedReads(storage: CheckpointStorage, onRead: (bytes: number) => void): CheckpointStorage {
  const noted = <Bytes extends Uint8Array | undefined>(bytes: Bytes): Bytes => {
    onRead(bytes?.length ?? 0)
    return bytes
  }
  const told = (object: ObjectReader): ObjectReader => ({
    sizeBytes: object.sizeBytes,
    readAhead: object.readAhead,
    read: async (offset, length) => noted(await object.read(offset, length)),
    close: () => object.close(),
  })
  return {
    name: storage.name,
    acquire: (options) => storage.acquire(options),
    list: () => storage.list(),
    read: async (name, maxBytes) => noted(await storage.read(name, maxBytes)),
    open: async (name, options) => {
      const object = await storage.open(name, options)
      return object && told(object)
    },
  }
}
