import { copyBytes } from '../base/bytes.js'
import { StateError } from '../base/errors.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
  OpenOptions,
  StorageLease,
  StoredObject,
} from '../storage/checkpoint-storage.js'
import { ArmedFault, type StorageCall, type StorageFault, type StorageOperation } from './storage-faults.js'

const asTheyAre = (bytes: Uint8Array): Uint8Array => bytes

/**
 * A storage that fails on demand, for tests of what must survive it. It passes everything on to the storage
 * underneath, counts the calls, and lets injected faults strike.
 *
 * @example
 * const storage = new FaultyCheckpointStorage(new MemoryCheckpointStorage())
 * storage.inject({ effect: 'crash', operation: 'writer.commit', nth: 2 })
 */
export class FaultyCheckpointStorage implements CheckpointStorage {
  readonly name: string
  readonly #storage: CheckpointStorage
  readonly #calls: StorageCall[] = []
  #faults: ArmedFault[] = []
  #crashed = false

  constructor(storage: CheckpointStorage) {
    this.name = `faulty ${storage.name}`
    this.#storage = storage
  }

  /** All calls so far in order, those that failed included. */
  get calls(): readonly StorageCall[] {
    return this.#calls
  }

  /** Whether a crash has struck: every call fails. */
  get crashed(): boolean {
    return this.#crashed
  }

  /** How many calls of an operation there were, or of all. */
  count(operation?: StorageOperation): number {
    if (operation === undefined) return this.#calls.length
    return this.#calls.filter((call) => call.operation === operation).length
  }

  /** Adds a fault. Where several strike at one call, the one injected first does. */
  inject(fault: StorageFault): this {
    this.#faults.push(new ArmedFault(fault))
    return this
  }

  /** Takes all faults away, a crash included: the medium is mended. */
  heal(): this {
    this.#faults = []
    this.#crashed = false
    return this
  }

  async acquire(options?: AcquireOptions): Promise<StorageLease> {
    const lease = await this.#call('acquire', undefined, () => this.#storage.acquire(options))
    return {
      token: lease.token,
      check: () => this.#call('lease.check', undefined, () => lease.check()),
      create: (name) => this.#create(lease, name),
      replace: (name, bytes) => this.#call('replace', name, (spoil) => lease.replace(name, spoil(bytes))),
      remove: (name) => this.#call('remove', name, () => lease.remove(name)),
      discardUncommitted: (graceMs) =>
        this.#call('discardUncommitted', undefined, () => lease.discardUncommitted(graceMs)),
      release: () => this.#call('lease.release', undefined, () => lease.release()),
    }
  }

  async open(name: string, options?: OpenOptions): Promise<ObjectReader | undefined> {
    const reader = await this.#call('open', name, () => this.#storage.open(name, options))
    if (reader === undefined) return undefined
    return {
      sizeBytes: reader.sizeBytes,
      readAhead: reader.readAhead,
      read: (offset, length) =>
        this.#call('reader.read', name, async (spoil) => spoil(await reader.read(offset, length))),
      close: () => this.#call('reader.close', name, () => reader.close()),
    }
  }

  read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    return this.#call('read', name, async (spoil) => {
      const bytes = await this.#storage.read(name, maxBytes)
      return bytes && spoil(bytes)
    })
  }

  list(): Promise<StoredObject[]> {
    return this.#call('list', undefined, () => this.#storage.list())
  }

  async #create(lease: StorageLease, name: string): Promise<ObjectWriter> {
    const writer = await this.#call('create', name, () => lease.create(name))
    return {
      write: (bytes) => this.#call('writer.write', name, (spoil) => writer.write(spoil(bytes))),
      commit: () => this.#call('writer.commit', name, () => writer.commit()),
      abort: () => this.#call('writer.abort', name, () => writer.abort()),
    }
  }

  /** Makes one call, with the fault that strikes at it. `spoil` is what the fault does to the call's bytes. */
  async #call<Result>(
    operation: StorageOperation,
    object: string | undefined,
    perform: (spoil: (bytes: Uint8Array) => Uint8Array) => Promise<Result>,
  ): Promise<Result> {
    const call: StorageCall = { operation, object }
    this.#calls.push(call)
    if (this.#crashed) throw this.#failure(call, 'the storage has crashed')
    // Every fault is asked, so that each counts the calls that it matches.
    const striking = this.#faults.filter((armed) => armed.strikes(call))
    const struck = striking.at(0)?.fault
    switch (struck?.effect) {
      case undefined:
        return perform(asTheyAre)
      case 'flip':
        return perform((bytes) => flipped(bytes, struck.offset ?? bytes.length >>> 1))
      case 'cut': {
        const result = await perform((bytes) =>
          copyBytes(bytes.subarray(0, struck.keepBytes ?? bytes.length >>> 1)),
        )
        if (struck.thenCrash !== true) return result
        this.#crashed = true
        throw this.#failure(call, 'the storage crashed in the middle of its bytes')
      }
      case 'fail':
        if (struck.when === 'after') await perform(asTheyAre)
        throw struck.error ?? this.#failure(call, 'a fault was injected')
      case 'crash':
        this.#crashed = true
        if (struck.when === 'after') await perform(asTheyAre)
        throw this.#failure(call, 'the storage crashed')
    }
  }

  #failure({ operation, object }: StorageCall, reason: string): StateError<'STORAGE_ERROR'> {
    const what = object === undefined ? operation : `${operation} of ${object}`
    return new StateError('STORAGE_ERROR', { storage: this.name, operation: `carry out ${what}`, reason })
  }
}

/** A copy with the lowest bit of one byte inverted; nothing to invert beyond the end. */
function flipped(bytes: Uint8Array, offset: number): Uint8Array {
  const changed = copyBytes(bytes)
  if (offset < changed.length) changed[offset] = (changed[offset] as number) ^ 1
  return changed
}
