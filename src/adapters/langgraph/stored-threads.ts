// What a saver does with the checkpoints of threads, over the keys where they lie (checkpoint-keys.ts).
//
// (1) What is put is one batch with the removal of what is older than is to be kept, with the writes that belong to it.
// (2) Changes of a thread happen one after the other, in the order of the calls, with values as they were then, by all savers of a process over one
//     backend. Another process may still write to a checkpoint that is pruned, or put one at the same time: what is older than the oldest
//     one that is to stay goes with the next that is put.
// (3) A write of a task that is there already stays as it is, whichever process has written it; those of errors and interrupts (an index below 0) are replaced.

import { invalidArgument } from '../../engine.js'
import { isStateError, type PutOptions, type StateBackend, WriteBatch } from '../../index.js'
import { decodedValue, encodedValue } from '../shared/stored-value.js'
import { CheckpointKeys, type Place, type StoredCheckpoint, type StoredWrite } from './checkpoint-keys.js'
import { type Turns, turnsOf } from './turns.js'

/** What of LangGraph's package is called. */
export interface LangGraphFunctions {
  readonly WRITES_IDX_MAP: { readonly [channel: string]: number }
  copyCheckpoint(checkpoint: never): object
  maxChannelVersion(...versions: never[]): unknown
  writesSortKey(taskPath: string, taskId?: string, index?: number): readonly [string, string, number]
  compareWritesSortKeys(
    left: readonly [string, string, number],
    right: readonly [string, string, number],
  ): number
}

export type ChannelWrite = readonly [channel: string, value: unknown]

export interface Config {
  readonly configurable?: {
    readonly thread_id?: string
    readonly checkpoint_ns?: string
    readonly checkpoint_id?: string
  }
}

export interface Checkpoint {
  readonly v: number
  readonly id: string
  channel_values: { [channel: string]: unknown }
  channel_versions: { [channel: string]: unknown }
}

export interface Tuple {
  readonly config: Config
  readonly checkpoint: Checkpoint
  readonly metadata: object
  readonly pendingWrites: (readonly [task: string, channel: string, value: unknown])[]
  readonly parentConfig?: Config
}

export interface ListOptions {
  readonly limit?: number
  readonly before?: Config
  readonly filter?: { readonly [name: string]: unknown }
}

/** What a saver has of its base class. */
export interface SaverBase {
  readonly serde: {
    dumpsTyped(value: unknown): Promise<readonly [type: string, bytes: Uint8Array]>
    loadsTyped(type: string, bytes: Uint8Array | string): Promise<unknown>
  }
  getNextVersion(current: undefined): unknown
}

export interface StoredThreadsOptions {
  readonly backend: StateBackend
  readonly prefix: string
  /** How long what is put lives. */
  readonly life: PutOptions
  readonly keepCheckpoints: number
}

/** The channel of messages between nodes, in checkpoints of before version 4. */
const TASKS = '__pregel_tasks'

export class StoredThreads {
  readonly #langgraph: LangGraphFunctions
  readonly #saver: SaverBase
  readonly #backend: StateBackend
  readonly #life: PutOptions
  readonly #keepCheckpoints: number
  readonly #keys: CheckpointKeys
  readonly #turns: Turns

  constructor(langgraph: LangGraphFunctions, saver: SaverBase, options: StoredThreadsOptions) {
    this.#langgraph = langgraph
    this.#saver = saver
    this.#backend = options.backend
    this.#life = options.life
    this.#keepCheckpoints = options.keepCheckpoints
    this.#keys = new CheckpointKeys(options.backend, options.prefix)
    this.#turns = turnsOf(options.backend)
  }

  async getTuple(config: Config): Promise<Tuple | undefined> {
    const { thread_id: thread, checkpoint_ns: namespace = '', checkpoint_id: id } = config.configurable ?? {}
    if (thread === undefined) return undefined
    if (id !== undefined && id !== '') return await this.#tuple({ thread, namespace, id }, config)
    // The newest one may be pruned before it is read: then there is a newer one, or the thread was deleted.
    let missed: string | undefined
    for (;;) {
      const newest = (await this.#keys.ids(thread, namespace)).at(-1)
      if (newest === undefined || newest.id === missed) return undefined
      const tuple = await this.#tuple(newest)
      if (tuple !== undefined) return tuple
      missed = newest.id
    }
  }

  async *list(
    config: Config,
    { limit = Infinity, before, filter = {} }: ListOptions = {},
  ): AsyncGenerator<Tuple> {
    const { thread_id: thread, checkpoint_ns: namespace, checkpoint_id: id } = config.configurable ?? {}
    const beforeId = before?.configurable?.checkpoint_id
    let left = limit
    for (const place of (await this.#keys.ids(thread, namespace)).reverse()) {
      if (left <= 0) return
      if (id !== undefined && id !== '' && place.id !== id) continue
      if (namespace !== undefined && place.namespace !== namespace) continue
      if (beforeId !== undefined && place.id >= beforeId) continue
      const tuple = await this.#tuple(place)
      if (tuple === undefined) continue
      const metadata = tuple.metadata as { readonly [name: string]: unknown }
      if (!Object.entries(filter).every(([name, value]) => metadata[name] === value)) continue
      left--
      yield tuple
    }
  }

  async put(config: Config, checkpoint: Checkpoint, metadata: object): Promise<Config> {
    const { thread_id, checkpoint_ns: namespace = '', checkpoint_id: parent } = config.configurable ?? {}
    const thread = given(thread_id, 'thread_id')
    const place = { thread, namespace, id: checkpoint.id }
    const dumped = Promise.all([
      this.#saver.serde.dumpsTyped(this.#langgraph.copyCheckpoint(checkpoint as never)),
      this.#saver.serde.dumpsTyped(metadata),
    ])
    await this.#turns.run(this.#keys.threadId(thread), dumped, async ([checkpointBytes, metadataBytes]) => {
      const stored: StoredCheckpoint = { checkpoint: checkpointBytes, metadata: metadataBytes, parent }
      const batch = new WriteBatch().put(this.#keys.checkpointKey(place), encodedValue(stored), this.#life)
      if (this.#keepCheckpoints !== Infinity) await this.#prune(batch, place)
      await this.#backend.write(batch)
    })
    return configOf(place)
  }

  async putWrites(
    config: Config,
    writes: readonly ChannelWrite[],
    taskId: string,
    taskPath: string = '',
  ): Promise<void> {
    const { thread_id, checkpoint_ns: namespace = '', checkpoint_id } = config.configurable ?? {}
    const place = {
      thread: given(thread_id, 'thread_id'),
      namespace,
      id: given(checkpoint_id, 'checkpoint_id'),
    }
    const channels = writes.map(([channel]) => channel)
    const values = Promise.all(writes.map(([, value]) => this.#saver.serde.dumpsTyped(value)))
    const write = async (dumped: readonly StoredWrite['value'][]): Promise<void> => {
      const batch = new WriteBatch()
      for (const [i, value] of dumped.entries()) {
        const channel = channels[i] as string
        // Names of channels are the graph's: `constructor` is one like others.
        const isOwn = Object.hasOwn(this.#langgraph.WRITES_IDX_MAP, channel)
        const index = isOwn ? (this.#langgraph.WRITES_IDX_MAP[channel] as number) : i
        const key = this.#keys.writeKey(place, taskId, index)
        if (index >= 0) {
          if (await this.#backend.contains(key)) continue
          batch.expect(key, undefined)
        }
        const stored: StoredWrite = { channel, path: taskPath, value }
        batch.put(key, encodedValue(stored), this.#life)
      }
      await this.#backend.write(batch)
    }
    await this.#turns.run(this.#keys.threadId(place.thread), values, async (dumped) => {
      for (;;) {
        try {
          return await write(dumped)
        } catch (error) {
          // Another process has written one of them since it was looked for: that one is there now.
          if (!isStateError(error, 'CONCURRENT_MODIFICATION')) throw error
        }
      }
    })
  }

  async deleteThread(thread: string): Promise<void> {
    const batch = new WriteBatch()
    for (const range of this.#keys.threadRanges(thread)) batch.deleteRange(range)
    await this.#turns.run(this.#keys.threadId(thread), undefined, () => this.#backend.write(batch))
  }

  /** Removes in a batch what is older than is to be kept once a checkpoint is put. */
  async #prune(batch: WriteBatch, put: Place): Promise<void> {
    const others = (await this.#keys.ids(put.thread, put.namespace)).filter(({ id }) => id !== put.id)
    const gone = Math.max(0, others.length + 1 - this.#keepCheckpoints)
    for (const old of others.slice(0, gone))
      batch.delete(this.#keys.checkpointKey(old)).deleteRange({ prefix: this.#keys.writesPrefix(old) })
    const oldest = others[gone]
    batch.deleteRange(this.#keys.writesBefore(oldest === undefined || put.id < oldest.id ? put : oldest))
  }

  async #tuple(place: Place, config: Config = configOf(place)): Promise<Tuple | undefined> {
    const stored = decodedValue(await this.#backend.get(this.#keys.checkpointKey(place))) as
      | StoredCheckpoint
      | undefined
    if (stored === undefined) return undefined
    const { parent } = stored
    const checkpoint = (await this.#saver.serde.loadsTyped(...stored.checkpoint)) as Checkpoint
    if (checkpoint.v < 4 && parent !== undefined)
      await this.#addPendingSends(checkpoint, { ...place, id: parent })
    const pendingWrites = await this.#writes(place)
    // They go with their checkpoint, maybe since that was read.
    if (pendingWrites.length === 0 && !(await this.#backend.contains(this.#keys.checkpointKey(place))))
      return undefined
    return {
      config,
      checkpoint,
      metadata: (await this.#saver.serde.loadsTyped(...stored.metadata)) as object,
      pendingWrites,
      ...(parent === undefined ? {} : { parentConfig: configOf({ ...place, id: parent }) }),
    }
  }

  /** In the order in which a run applies them. */
  async #writes(place: Place): Promise<(readonly [string, string, unknown])[]> {
    const found = (await this.#keys.writes(place)).map(({ task, index, stored }) => {
      return { task, stored, order: this.#langgraph.writesSortKey(stored.path, task, index) }
    })
    found.sort((left, right) => this.#langgraph.compareWritesSortKeys(left.order, right.order))
    return await Promise.all(
      found.map(async ({ task, stored: { channel, value } }) => {
        return [task, channel, await this.#saver.serde.loadsTyped(...value)] as const
      }),
    )
  }

  /** What LangGraph does with checkpoints that older versions of it wrote. */
  async #addPendingSends(checkpoint: Checkpoint, parent: Place): Promise<void> {
    const sends = (await this.#writes(parent)).filter(([, channel]) => channel === TASKS)
    checkpoint.channel_values ??= {}
    checkpoint.channel_values[TASKS] = sends.map(([, , value]) => value)
    checkpoint.channel_versions ??= {}
    const versions = Object.values(checkpoint.channel_versions) as never[]
    checkpoint.channel_versions[TASKS] =
      versions.length > 0
        ? this.#langgraph.maxChannelVersion(...versions)
        : this.#saver.getNextVersion(undefined)
  }
}

const configOf = ({ thread, namespace, id }: Place): Config => ({
  configurable: { thread_id: thread, checkpoint_ns: namespace, checkpoint_id: id },
})

function given(value: string | undefined, name: string): string {
  if (value === undefined || value === '')
    throw invalidArgument(`config.configurable.${name}`, 'is required: it says whose checkpoint this is')
  return value
}
