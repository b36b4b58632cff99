// Publishes, replaces and removes objects, and says what has become durable. Where a step fails it says so, mends
// the disk, and does everything once more.

import { isStateError } from '../../../src/base/errors.js'
import type { StorageLease } from '../../../src/storage/checkpoint-storage.js'
import { FileCheckpointStorage } from '../../../src/storage/file-checkpoint-storage.js'
import { contentOf } from './object-content.js'
import type { ChildContext } from './run-script.js'

export async function run(context: ChildContext): Promise<void> {
  const [directory] = context.args as [string]
  const publisher = new Publisher(new FileCheckpointStorage(directory), context)
  try {
    await publisher.run(['first', 'second'])
  } catch (error) {
    if (!isStateError(error, 'STORAGE_ERROR')) throw error
    context.say('failed', error.message)
    context.mend()
    await publisher.sayListed()
    await publisher.run(['third', 'fourth'])
  }
  context.say('done')
}

class Publisher {
  readonly #storage: FileCheckpointStorage
  readonly #context: ChildContext
  #lease: StorageLease | undefined

  constructor(storage: FileCheckpointStorage, context: ChildContext) {
    this.#storage = storage
    this.#context = context
  }

  async run(names: readonly [string, string]): Promise<void> {
    await this.#lease?.release()
    this.#lease = await this.#storage.acquire()
    this.#context.say('leased', String(this.#lease.token))
    for (const name of names) {
      await this.#publish(this.#lease, name)
      await this.#replaceLatest(this.#lease, name)
    }
    this.#context.say('removing', names[0])
    await this.#lease.remove(names[0])
    this.#context.say('removed', names[0])
    await this.#lease.release()
  }

  async sayListed(): Promise<void> {
    const listed = await this.#storage.list()
    this.#context.say('listed', ...listed.map((object) => object.name))
  }

  async #publish(lease: StorageLease, name: string): Promise<void> {
    const bytes = contentOf(name)
    const writer = await lease.create(name)
    try {
      for (let offset = 0; offset < bytes.length; offset += 4_000) {
        await writer.write(bytes.subarray(offset, offset + 4_000))
      }
      await writer.commit()
    } catch (error) {
      // The disk may still be failing: what cannot be removed now is discarded later.
      await writer.abort().catch(() => undefined)
      throw error
    }
    this.#context.say('published', name)
  }

  async #replaceLatest(lease: StorageLease, name: string): Promise<void> {
    this.#context.say('replacing', name)
    await lease.replace('latest', contentOf(name))
    this.#context.say('replaced', name)
  }
}
