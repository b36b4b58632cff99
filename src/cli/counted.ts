import type { EntryBlock } from '../index.js'
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
