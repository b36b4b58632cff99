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
   * Makes what was written durable, without a name yet: part of what `commit` would do, for who has to wait before it. Nothing is
   * written behind it (`CLOSED`). Storages that have nothing to do before `commit` leave it out.
   */
  prepare?(): Promise<void>
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

/** Bytes that were written, durably, to take the place of a small object, and that have no name yet. */
export interface PreparedReplacement {
  /** The rest of what {@link StorageLease.replace} does. Once. */
  commit(): Promise<void>
  /** Throws them away. Idempotent; a no-op after a successful `commit`. */
  abort(): Promise<void>
}

/** How an object is going to be read. A hint: what the reads give does not depend on it. */
export interface OpenOptions {
  /**
   * `'sequential'`: all of it once, from its beginning to its end, with several reads under way at a time: a storage may fetch
   * it as one stream. `'random'`: a few stretches, each fetched by itself. Default: unknown.
   */
  readonly access?: 'sequential' | 'random'
  /**
   * Its part of the bytes of all objects that are read side by side with it, over 0 up to 1: what a storage would have under way for one
   * object is divided so. Default 1.
   */
  readonly share?: number
}

/** How much of an object is asked for before it is needed, by who reads it from its beginning to its end. */
export interface ReadAheadLimits {
  /** Bytes that one read asks for. */
  readonly pieceBytes: number
  /** Reads that are under way or waiting to be taken, at a time. */
  readonly pieces: number
}

/**
 * Reads one object in pieces, as it was when it was opened. After a later `remove` or `replace` of the name, a read gives the
 * bytes of then or rejects, and never gives others. Several reads may run at a time. After `close`, reads are `CLOSED`;
 * `close` is idempotent.
 */
export interface ObjectReader {
  readonly sizeBytes: number
  /** How an object that was opened for `'sequential'` access is read best. A hint. Default: as the reader of it likes. */
  readonly readAhead?: ReadAheadLimits | undefined
  /** Exactly `length` bytes from `offset`, as a copy; `CORRUPTION` where the object ends before. */
  read(offset: number, length: number): Promise<Uint8Array>
  close(): Promise<void>
}

/** What {@link CheckpointStorage.acquire} may be told. */
export interface AcquireOptions {
  /** Take the storage over from an owner that may still live: it is fenced off. Default false: `FENCED` then. */
  readonly takeOver?: boolean
}

/**
 * The right to write to a storage, held by one owner at a time, and the only way to write to it.
 *
 * Every call that writes is bound to the lease: once another owner has taken over it is `FENCED`, also for an object that
 * was begun before, and changes nothing; after `release` it is `CLOSED`. How close that check is to the write is the
 * storage's to say. One that can make a write conditional on the token does so.
 */
export interface StorageLease {
  /** Grows with every new owner: the larger token is the newer owner. */
  readonly token: number
  /** Resolves while the lease is held; rejects with `FENCED` once another owner has taken over, and with `CLOSED` after `release`. */
  check(): Promise<void>
  /** Starts a new object. Several may be written at a time. */
  create(name: string): Promise<ObjectWriter>
  /**
   * Writes or overwrites a small object in one durable step: a reader sees the old bytes or the new ones, also
   * after a rejection, which leaves open which of the two. The caller must not change the bytes meanwhile.
   */
  replace(name: string, bytes: Uint8Array): Promise<void>
  /**
   * The part of `replace` that needs no name, for who knows the bytes before they may be seen. Storages that have nothing to do
   * before that leave it out.
   */
  prepareReplace?(name: string, bytes: Uint8Array): Promise<PreparedReplacement>
  /** Removes an object, durably. Resolves to false where there is none. */
  remove(name: string): Promise<boolean>
  /**
   * Removes what writers that never committed have left behind and that has not been touched for `graceMs`, except
   * what a living writer of this lease is still writing. Resolves to how many there were.
   */
  discardUncommitted(graceMs: number): Promise<number>
  /**
   * Lets another thread of this process write and read objects under this lease, so that their bytes need not pass
   * through this one. Storages that leave it out are called on the thread that they live on.
   */
  share?(): SharedStorage
  /** Lets the next owner in. Idempotent; after a `STORAGE_ERROR` it may be called again. A no-op once fenced. */
  release(): Promise<void>
}

/** A storage on its way to another thread of this process, which then moves the bytes of objects by itself. */
export interface SharedStorage {
  /**
   * URL of an ES module. What a lease shares is opened by its export `openSharedStorage`, an {@link OpenSharedStorage};
   * what a storage shares by its export `openSharedSource`, an {@link OpenSharedSource}.
   */
  readonly module: string
  /** What that function takes. Structured clone carries it. */
  readonly data: unknown
  /**
   * The other thread is done, or has died: what it did not commit no longer counts as being written by a living
   * writer. Idempotent.
   */
  release(): void
}

/** Where objects are read. */
export interface ObjectSource {
  /** Opens an object; `undefined` where there is none. Reads of it may be under way side by side. */
  open(name: string, options?: OpenOptions): Promise<ObjectReader | undefined>
  /** A whole small object; `undefined` where there is none. `CORRUPTION` where it is larger than `maxBytes`. */
  read(name: string, maxBytes: number): Promise<Uint8Array | undefined>
}

/** Where objects are read and, under a lease, written. */
export interface ObjectStorage extends ObjectSource {
  create(name: string): Promise<ObjectWriter>
}

/** What the export `openSharedStorage` of a shared storage's module is: it takes the `data` that a lease shares. */
export type OpenSharedStorage = (data: unknown) => ObjectStorage
/** What the export `openSharedSource` of a shared storage's module is: it takes the `data` that a storage shares. */
export type OpenSharedSource = (data: unknown) => ObjectSource

/**
 * Where checkpoints are kept: a flat set of immutable, named objects, and a few small ones that are replaced. Anybody
 * reads; the holder of the lease writes. Nothing here assumes a file system: there is no rename, and nothing on the way of
 * a checkpoint lists.
 *
 * Names are 1 to 128 characters of `a-z 0-9 . -` and do not begin with a dot; anything else is `INVALID_ARGUMENT`.
 * Failures of the medium are `STORAGE_ERROR` with the cause.
 */
export interface CheckpointStorage extends ObjectSource {
  /** For messages: `'file:/var/lib/app/checkpoints'`, `'memory'`. */
  readonly name: string
  /**
   * Becomes the one writer. `FENCED` while another owner lives, this process included; its details name the owner
   * and what to do. The lease of a dead one is taken over.
   */
  acquire(options?: AcquireOptions): Promise<StorageLease>
  /** Every published object, in no particular order. Empty where the storage does not exist yet. */
  list(): Promise<StoredObject[]>
  /** Lets another thread of this process read objects by itself; see {@link StorageLease.share}. */
  share?(): SharedStorage
}
