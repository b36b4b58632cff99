/** An object in a checkpoint storage. */
export interface StoredObject {
  readonly name: string
  readonly sizeBytes: number
}

/**
 * Writes one new object. Before `commit` is called, no reader and no listing knows of it; after that they see
 * the whole object or nothing, never a part.
 *
 * One call at a time: a call before the last one has settled is `INVALID_ARGUMENT`. The first failure ends the
 * writer and removes what was written; later calls reject with the same error, and a new attempt takes a new
 * writer. After `commit` or `abort`, `write` and `commit` are `CLOSED`.
 */
export interface ObjectWriter {
  /** Resolves when the bytes were taken, all of them. The caller must not change them before that. */
  write(bytes: Uint8Array): Promise<void>
  /**
   * Publishes: after it resolves, the object survives power loss. Rejects with `FENCED` if an object of this name
   * exists; that one is left untouched. After a `STORAGE_ERROR` the object is normally not there; where the medium
   * failed so that it could not be taken back, or the process died meanwhile, it may be there, and then whole.
   */
  commit(): Promise<void>
  /**
   * Throws away what was written, after waiting for a call under way. Idempotent; a no-op after a successful
   * `commit`.
   */
  abort(): Promise<void>
}

/**
 * Reads one object in pieces, as it was when it was opened: a later `remove` or `replace` of the name does not
 * disturb it. Several reads may run at a time. After `close`, reads are `CLOSED`; `close` is idempotent.
 */
export interface ObjectReader {
  readonly sizeBytes: number
  /** Exactly `length` bytes from `offset`, as a copy; `CORRUPTION` where the object ends before. */
  read(offset: number, length: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** The right to write to a storage, held by one owner at a time. */
export interface StorageLease {
  /** Grows with every new owner: the larger token is the newer owner. */
  readonly token: number
  /**
   * Resolves while the lease is held; rejects with `FENCED` once another owner has taken over, and with `CLOSED`
   * after `release`. The storage itself lets anybody write: whoever publishes calls this first.
   */
  check(): Promise<void>
  /** Lets the next owner in. Idempotent; after a `STORAGE_ERROR` it may be called again. A no-op once fenced. */
  release(): Promise<void>
}

/**
 * A storage on its way to another thread of this process, which then writes and reads objects by itself. Leases, small
 * objects, listing and removal stay with the storage that shared it.
 */
export interface SharedStorage {
  /** URL of an ES module; its export `openSharedStorage` is an {@link OpenSharedStorage}. */
  readonly module: string
  /** What that function takes. Structured clone carries it. */
  readonly data: unknown
  /**
   * The other thread is done, or has died: what it did not commit no longer counts as being written by a living
   * writer. Idempotent.
   */
  release(): void
}

/** The part of a storage that moves the bytes of objects; see {@link CheckpointStorage}. */
export interface ObjectStorage {
  create(name: string): Promise<ObjectWriter>
  open(name: string): Promise<ObjectReader | undefined>
}

export type OpenSharedStorage = (data: unknown) => ObjectStorage

/**
 * Where checkpoints are kept: a flat set of immutable, named objects, and a few small ones that are replaced.
 * Nothing here assumes a file system: there is no rename, and nothing on the way of a checkpoint lists.
 *
 * Names are 1 to 128 characters of `a-z 0-9 . -` and do not begin with a dot; anything else is `INVALID_ARGUMENT`.
 * Failures of the medium are `STORAGE_ERROR` with the cause.
 */
export interface CheckpointStorage extends ObjectStorage {
  /** For messages: `'file:/var/lib/app/checkpoints'`, `'memory'`. */
  readonly name: string
  /**
   * Becomes the one writer. `FENCED` while another owner lives, this process included; its details name the owner
   * and what to do. The lease of a dead one is taken over.
   */
  acquire(): Promise<StorageLease>
  /** Starts a new object. Several may be written at a time. */
  create(name: string): Promise<ObjectWriter>
  /** Opens an object; `undefined` where there is none. */
  open(name: string): Promise<ObjectReader | undefined>
  /** A whole small object; `undefined` where there is none. `CORRUPTION` where it is larger than `maxBytes`. */
  read(name: string, maxBytes: number): Promise<Uint8Array | undefined>
  /**
   * Writes or overwrites a small object in one durable step: a reader sees the old bytes or the new ones, also
   * after a rejection, which leaves open which of the two. The caller must not change the bytes meanwhile.
   */
  replace(name: string, bytes: Uint8Array): Promise<void>
  /** Every published object, in no particular order. Empty where the storage does not exist yet. */
  list(): Promise<StoredObject[]>
  /** Removes an object, durably. Resolves to false where there is none. */
  remove(name: string): Promise<boolean>
  /**
   * Removes what writers that never committed have left behind and that has not been touched for `graceMs`, except
   * what a living writer of this storage object is still writing. Only the holder of the lease calls this. Resolves
   * to how many there were.
   */
  discardUncommitted(graceMs: number): Promise<number>
  /**
   * Lets another thread of this process move the bytes, so that they need not pass through this one. Storages that
   * leave it out are called on the thread that they live on.
   */
  share?(): SharedStorage
}
