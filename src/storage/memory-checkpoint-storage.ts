import { StateError } from '../base/errors.js'
import { checkSmall } from '../files/file-failure.js'
import { checkObjectName } from '../files/file-names.js'
import type {
  AcquireOptions,
  CheckpointStorage,
  ObjectReader,
  ObjectWriter,
  StorageLease,
  StoredObject,
} from './checkpoint-storage.js'
import { MemoryObjectReader } from './memory-object-reader.js'
import { MemoryObjectWriter } from './memory-object-writer.js'
import { checkAcquireOptions, checkBytes, checkGraceMs, checkMaxBytes } from './object-arguments.js'

/** What the leases of one memory storage write to. */
interface MemoryContent {
  readonly objects: Map<string, Uint8Array>
  /** The newest token ever given. */
  lastToken: number
  /** The token that is held; `undefined` while nobody holds one. */
  heldToken: number | undefined
}

/**
 * Checkpoints in the memory of this process: for tests, and for moving state from one backend to another.
 * It keeps every promise of {@link CheckpointStorage} except that nothing survives the process. Whether the lease is held
 * is checked in the same step as each write.
 */
export class MemoryCheckpointStorage implements CheckpointStorage {
  readonly name = 'memory'
  readonly #content: MemoryContent = { objects: new Map(), lastToken: 0, heldToken: undefined }

  async acquire(options?: AcquireOptions): Promise<StorageLease> {
    checkAcquireOptions(options)
    const { heldToken } = this.#content
    if (heldToken !== undefined && options?.takeOver !== true) throw fencedByToken(heldToken)
    return new MemoryLease(this.#content)
  }

  /**
   * Lets the next owner in without the present one's doing, as if its process had died: for tests of recovery.
   * The lease that was held is fenced from now on.
   */
  forgetOwner(): void {
    this.#content.heldToken = undefined
  }

  /**
   * Puts bytes in the place of an object, or removes it (`undefined`), past every lease, as a fault of a medium would:
   * for tests of what must survive that.
   */
  tamper(name: string, bytes: Uint8Array | undefined): void {
    checkObjectName(name)
    if (bytes === undefined) this.#content.objects.delete(name)
    else this.#content.objects.set(name, new Uint8Array(bytes))
  }

  async open(name: string): Promise<ObjectReader | undefined> {
    checkObjectName(name)
    const bytes = this.#content.objects.get(name)
    return bytes === undefined ? undefined : new MemoryObjectReader(name, bytes)
  }

  async read(name: string, maxBytes: number): Promise<Uint8Array | undefined> {
    checkObjectName(name)
    checkMaxBytes(maxBytes)
    const bytes = this.#content.objects.get(name)
    if (bytes !== undefined) checkSmall(`memory object ${name}`, bytes.length, maxBytes)
    return bytes?.slice()
  }

  async list(): Promise<StoredObject[]> {
    return Array.from(this.#content.objects, ([name, bytes]) => ({ name, sizeBytes: bytes.length }))
  }
}

class MemoryLease implements StorageLease {
  readonly token: number
  readonly #content: MemoryContent
  #released = false

  constructor(content: MemoryContent) {
    content.lastToken++
    content.heldToken = content.lastToken
    this.token = content.lastToken
    this.#content = content
  }

  async check(): Promise<void> {
    this.#requireHeld()
  }

  async create(name: string): Promise<ObjectWriter> {
    checkObjectName(name)
    this.#requireHeld()
    return new MemoryObjectWriter(this.#content.objects, name, () => this.#requireHeld())
  }

  async replace(name: string, bytes: Uint8Array): Promise<void> {
    checkObjectName(name)
    checkBytes(bytes)
    this.#requireHeld()
    this.#content.objects.set(name, new Uint8Array(bytes))
  }

  async remove(name: string): Promise<boolean> {
    checkObjectName(name)
    this.#requireHeld()
    return this.#content.objects.delete(name)
  }

  /** Always 0: bytes that were not committed belong to their writer and go with it. */
  async discardUncommitted(graceMs: number): Promise<number> {
    checkGraceMs(graceMs)
    this.#requireHeld()
    return 0
  }

  async release(): Promise<void> {
    this.#released = true
    if (this.#content.heldToken === this.token) this.#content.heldToken = undefined
  }

  #requireHeld(): void {
    if (this.#released) throw new StateError('CLOSED', { component: `lease ${this.token}` })
    if (this.#content.heldToken !== this.token) throw fencedByToken(this.#content.heldToken)
  }
}

/** The refusal of a memory storage that is owned: its owners can only be in this process. */
function fencedByToken(token: number | undefined): StateError<'FENCED'> {
  const owner =
    token === undefined
      ? 'nobody any more: the owner was forgotten; acquire a new lease'
      : `another lease in this process (${token}); release that one first`
  return new StateError('FENCED', { resource: 'memory', owner })
}
