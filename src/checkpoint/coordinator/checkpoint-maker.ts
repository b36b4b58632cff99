import type { ChangeBase } from '../../backend/state-snapshot.js'
import { throwIfAborted } from '../../base/abort.js'
import { isStateError, type StateError } from '../../base/errors.js'
import type { LeasedStorage, Reservation } from '../archive/leased-storage.js'
import { type CheckpointContent, contentOf, type StoredManifest } from '../format/manifest.js'
import type { JobStarter } from '../worker/checkpoint-worker.js'
import { type WrittenCheckpoint, writeCheckpoint } from './checkpoint-writer.js'
import type { CheckpointedBackend, CoordinatorSettings } from './coordinator-settings.js'
import { IncrementalChain } from './incremental-chain.js'
import type { IsHeardUntil } from './manifest-publication.js'
import { isChainTooLong, isMergeDue } from './merge-policy.js'
import { type MergerSettings, SegmentMerger } from './segment-merger.js'
import { takeCut } from './state-cut.js'

/** So often the worker may come too late to read what was shared with it; then this thread reads and sends the blocks. */
const MAX_LATE_READERS = 3

const OUTGROWN = 'what has changed is larger than its base'
const BASE_LOST = 'what it was to be built on is not there any more, or is damaged'
const LATE_READER = 'the worker did not begin to read in time'
type Again = typeof OUTGROWN | typeof BASE_LOST | typeof LATE_READER

export interface MakeRequest {
  readonly owner: LeasedStorage
  readonly savepoint: boolean
  readonly signal: AbortSignal | undefined
  readonly onReserved: (sequence: number) => void
}

export interface MadeCheckpoint extends WrittenCheckpoint {
  /** How long the cut held this thread. */
  readonly cutMs: number
}

export interface MakerEvents {
  /** The backend is asked for its state; what this returns is called when it has given it. */
  readonly onCut: () => () => void
  readonly isHeardUntil: IsHeardUntil
  readonly onMerged: MergerSettings['onMerged']
  readonly onMergeFailed: (error: StateError) => void
}

function beginReservation({ owner, onReserved }: MakeRequest): Reservation {
  const { sequence, durable } = owner.reserve()
  const noted = durable.then(() => onReserved(sequence))
  // Whoever waits for it is told.
  noted.catch(() => {})
  return { sequence, durable: noted }
}

/**
 * Makes the checkpoints of one coordinator: each on top of the last one that was published, where the backend can tell
 * what has changed, and now and then merges what has piled up.
 */
export class CheckpointMaker {
  readonly #backend: CheckpointedBackend
  readonly #settings: CoordinatorSettings
  readonly #worker: JobStarter
  readonly #chain = new IncrementalChain()
  readonly #merger: SegmentMerger
  #looking: Promise<void> | undefined
  readonly #onCut: () => () => void
  readonly #isHeardUntil: IsHeardUntil

  constructor(
    backend: CheckpointedBackend,
    settings: CoordinatorSettings,
    worker: JobStarter,
    events: MakerEvents,
  ) {
    this.#backend = backend
    this.#settings = settings
    this.#worker = worker
    this.#onCut = events.onCut
    this.#isHeardUntil = events.isHeardUntil
    const { limits, clock, logger, codec } = settings
    const onFailed = (error: StateError) => {
      // What cannot be read cannot be built on.
      if (isStateError(error, 'CORRUPTION')) this.#chain.breakOff()
      events.onMergeFailed(error)
    }
    const { onMerged } = events
    this.#merger = new SegmentMerger({ worker, codec: codec.name, limits, clock, logger, onMerged, onFailed })
  }

  /** Deltas of the checkpoint that the next one builds on. */
  get deltas(): number {
    return Math.max(0, this.#chain.segments.length - 1)
  }

  get merging(): boolean {
    return this.#merger.running
  }

  /** Segments that retention must spare, though no manifest may name them. */
  segmentsInUse(): ReadonlySet<string> {
    return new Set([...this.#chain.segments.map(({ name }) => name), ...this.#merger.namesInUse()])
  }

  /**
   * One checkpoint or savepoint. What fails changes nothing of what the next one builds on. Where the state of one instant
   * could not be written as it was meant to be, that of a later one is: a snapshot can be shared only in the step of its cut.
   */
  async make(request: MakeRequest): Promise<MadeCheckpoint> {
    // A snapshot that waits for a thread to start may hold commits up.
    const { sharedModule } = this.#backend
    if (!this.#worker.isReadyFor(sharedModule)) await this.#worker.ready(sharedModule)
    let reservation: Reservation | undefined
    const reserve = () => {
      reservation ??= beginReservation(request)
      return reservation
    }
    try {
      let sinceBase = true
      for (let lateReaders = 0; ; ) {
        const share = lateReaders < MAX_LATE_READERS
        const made = await this.#attempt(request, reserve, { sinceBase, share })
        if (typeof made === 'object') return made
        // A state that has grown much is nothing to look into; the others are.
        const level = made === OUTGROWN ? 'info' : 'warn'
        this.#settings.logger[level]({ reason: made }, 'the checkpoint takes the state once more')
        if (made === LATE_READER) lateReaders++
        else sinceBase = false
      }
    } finally {
      // Two of them would overtake each other.
      await reservation?.durable.catch(() => {})
    }
  }

  /** A checkpoint, or why it has to be tried again. */
  async #attempt(
    { owner, savepoint, signal }: MakeRequest,
    reserve: () => Reservation,
    { sinceBase, share }: { readonly sinceBase: boolean; readonly share: boolean },
  ): Promise<MadeCheckpoint | Again> {
    const { clock, source, hold, incremental } = this.#settings
    const createdAt = new Date(clock.now())
    const trackChanges = incremental && !savepoint
    const chain = this.#merger.applied(this.#chain.segments)
    const builds = trackChanges && sinceBase && !isChainTooLong(chain, this.#settings)
    const since = builds ? this.#chain.base : undefined
    // No await without them: the state is then that of the call.
    const prepared = this.#backend.prepareSnapshot?.({
      track: trackChanges,
      ...(since !== undefined && { since }),
    })
    if (prepared !== undefined) await prepared
    const release = hold === undefined ? undefined : await hold()
    const taken = this.#onCut()
    const cut = await takeCut(this.#backend, source, { trackChanges, since, share }).finally(() => {
      taken()
      release?.()
    })
    let keepBase = false
    try {
      throwIfAborted(signal, 'checkpoint')
      const confirmed = cut.snapshot.tellsChanges && (await this.#chain.confirm(owner))
      const { content } = this.#chain
      const reservation = reserve()
      const preceding = confirmed && content !== undefined ? this.#merger.applied(content.segments) : []
      if (preceding.length === 0 && cut.snapshot.tellsChanges) return BASE_LOST
      const written = await writeCheckpoint({
        owner,
        worker: this.#worker,
        reservation,
        cut,
        preceding,
        backend: this.#backend.name,
        savepoint,
        createdAt,
        signal,
        isHeardUntil: this.#isHeardUntil,
        settings: this.#settings,
      })
      if (written === 'outgrown') return OUTGROWN
      if (written === 'late') return LATE_READER
      keepBase = true
      if (!savepoint) this.#beginLooking(owner)
      await owner.notePublished(written.stored, written.preparedNote)
      if (!savepoint) this.#published(written.stored, cut.snapshot.base, owner, content)
      return { ...written, cutMs: cut.pauseMs }
    } finally {
      if (!keepBase) cut.snapshot.base?.release()
      await cut.snapshot.close()
    }
  }

  /** The state is that of this checkpoint now. */
  async restored({ manifest }: StoredManifest, base: ChangeBase | undefined): Promise<void> {
    await this.#merger.giveUp()
    this.#chain.advance(contentOf(manifest), base, undefined)
  }

  /** Begins to merge, where the chain has grown enough, and no merge is pending. */
  mergeIfDue(owner: LeasedStorage): void {
    const { content } = this.#chain
    if (content === undefined || this.#merger.pending) return
    if (isMergeDue(content.segments, this.#settings)) this.#merger.start(owner, content)
  }

  /** The files that the chain consists of are seen to be these; where one is missing, the next checkpoint is full. */
  noteListing(owner: LeasedStorage, segmentSizes: ReadonlyMap<string, number>): void {
    this.#chain.confirmIn(owner, segmentSizes)
  }

  /** Looks whether one of the files is there that the chain consists of: another one each time. */
  async lookForOneFile(owner: LeasedStorage): Promise<void> {
    const looking = this.#looking ?? this.#chain.lookForOneFile(owner)
    this.#looking = undefined
    await looking
  }

  /** Beside the note of a publication, as both wait for the storage. Whoever looks next is told what came of it. */
  #beginLooking(owner: LeasedStorage): void {
    this.#looking = this.#chain.lookForOneFile(owner)
    this.#looking.catch(() => {})
  }

  /** The next checkpoint is full: something that was saved before is not to be relied on. */
  breakOff(): void {
    this.#chain.breakOff()
  }

  /** Those segments are about to be removed. */
  async letGoOf(names: readonly string[]): Promise<void> {
    const inUse = this.segmentsInUse()
    if (!names.some((name) => inUse.has(name))) return
    await this.#merger.giveUp()
    this.#chain.breakOff()
  }

  /** Gives up the merge under way. Never rejects. */
  async abortMerge(): Promise<void> {
    await this.#merger.abort()
  }

  /** Nothing will be built on what was made. Idempotent. */
  async close(): Promise<void> {
    await this.letGoOf([...this.segmentsInUse()])
  }

  #published(
    { manifest }: StoredManifest,
    base: ChangeBase | undefined,
    owner: LeasedStorage,
    builtOn: CheckpointContent | undefined,
  ): void {
    const content = contentOf(manifest)
    // Broken off meanwhile: what it was built on turned out to be damaged.
    const trusted = manifest.kind === 'full' || this.#chain.content === builtOn
    if (!trusted) base?.release()
    this.#chain.advance(content, trusted ? base : undefined, owner)
    this.#merger.keepOnlyFor(content.segments)
  }
}
