import { checkSmall } from '../files/file-failure.js'
import { checkObjectName } from '../files/file-names.js'
import type {
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
  StorageLease,
  StoredObject,
} from './checkpoint-storage.js'
import { fencedByToken, MemoryLease, type MemoryOwnership } from './memory-lease.js'
import { MemoryObjectReader } from './memory-object-reader.js'
import { MemoryObjectWriter } from './memory-object-writer.js'
import { checkBytes, checkGraceMs, checkMaxBytes } from './object-arguments.js'

/**
 * Checkpoints in the memory of this process: for tests, and for moving state from one backend to another.
 * It keeps every promise of {@link CheckpointStorage} except that nothing survives the process.
 */
export class MemoryCheckpointStorage implements CheckpointStorage {
  readonly name = 'memory'
  readonly #objects = new Map<string, Uint8Array>()
  readonly #ownership: MemoryOwnership = { lastToken: 0, heldToken: undefined }

  async acquire(): Promise<StorageLease> {
    if (this.#ownership.heldToken !== undefined) throw fencedByToken(this.#ownership.heldToken)
    return new MemoryLease(this.#ownership)
  }

  /**
   * Lets the next owner in without the present one's doing, as if its process had died: for tests of recovery.
   * The lease that was held is fenced from now on.
   */
  forgetOwner(): void {
    this.#ownership.heldToken = undefined
  }

  async create(name: string): Promise<ObjectWriter> {
    checkObjectName(name)
    return new MemoryObjectWriter(this.#objects, name)
  }

  async open(name: string): Promise<ObjectReader | undefined> {
    checkObjectName(name)
    const bytes = this.#objects.get(name)
    return bytes === undefined ? undefined : new MemoryObjectReader(name, bytes)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    checkObjectName(name)
    checkMaxBytes(maxBytes)
    const bytes = this.#objects.get(name)
    if (bytes !== undefined) checkSmall(`memory object ${name}`, bytes.length, maxBytes)
    return bytes?.slice()
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    checkObjectName(name)
    checkBytes(bytes)
    this.#objects.set(name, new Uint8Array(bytes))
  }

  async list(): Promise<StoredObject[]> {
    return Array.from(this.#objects, ([name, bytes]) => ({ name, sizeBytes: bytes.length }))
  }

  async remove(name: string): Promise<boolean> {
    checkObjectName(name)
    return this.#objects.delete(name)
  }

  /** Always 0: bytes that were not committed belong to their writer and go with it. */
  async discardUncommitted(graceMs: number): Promise<number> {
    checkGraceMs(graceMs)
    return 0
  }
}
