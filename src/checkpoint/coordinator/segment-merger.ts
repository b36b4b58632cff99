import type { Clock } from '../../base/clock.js'
import { isStateError, reasonOf, type StateError } from '../../base/errors.js'
import type { CodecName } from '../../codec/block-codec.js'
import type { LeasedStorage } from '../archive/leased-storage.js'
import type { CheckpointContent, ManifestSegment } from '../format/manifest.js'
import { segmentName, sequenceOf } from '../format/object-names.js'
import type { CheckpointId, Logger } from '../types.js'
import type { JobStarter } from '../worker/checkpoint-worker.js'
import { startJob } from '../worker/start-job.js'
import type { WorkerLimits } from '../worker/worker-protocol.js'
import { asCheckpointFailure, removeAfterFailure } from './checkpoint-failure.js'

export interface MergerSettings {
  readonly worker: JobStarter
  readonly codec: CodecName
  readonly limits: WorkerLimits
  readonly clock: Clock
  readonly logger: Logger
  readonly onMerged: (merged: {
    readonly through: CheckpointId
    readonly sizeBytes: number
    readonly durationMs: number
  }) => void
  readonly onFailed: (error: StateError) => void
}

interface Running {
  readonly content: CheckpointContent
  readonly name: string
  readonly controller: AbortController
  readonly ended: Promise<void>
}

interface Finished {
  readonly inputs: readonly ManifestSegment[]
  readonly segment: ManifestSegment
}

/**
 * Merges base and deltas of a published checkpoint into a new base, in the background. Checkpoints go on meanwhile on the
 * old segments; the next one after the merge names the new base and whatever deltas came after those that were merged.
 * A merge that fails changes nothing.
 */
export class SegmentMerger {
  readonly #settings: MergerSettings
  #running: Running | undefined
  #finished: Finished | undefined

  constructor(settings: MergerSettings) {
    this.#settings = settings
  }

  get running(): boolean {
    return this.#running !== undefined
  }

  /** A merge is under way, or waits to be named by a checkpoint. */
  get pending(): boolean {
    return this.#running !== undefined || this.#finished !== undefined
  }

  /** Segments that must not be removed, though no manifest may name them. */
  namesInUse(): string[] {
    const running =
      this.#running === undefined ? [] : [this.#running.name, ...namesOf(this.#running.content.segments)]
    return this.#finished === undefined ? running : [...running, this.#finished.segment.name]
  }

  /** Begins to merge what a checkpoint consists of. Nothing else may be pending. */
  start(owner: LeasedStorage, content: CheckpointContent): void {
    const controller = new AbortController()
    const name = segmentName(sequenceOf(content.id) as number, 'merged')
    const ended = this.#merge(owner, content, name, controller.signal).finally(() => {
      this.#running = undefined
    })
    this.#running = { content, name, controller, ended }
  }

  /** The same state in fewer segments, where what was merged is the beginning of these. */
  applied(segments: readonly ManifestSegment[]): readonly ManifestSegment[] {
    const finished = this.#finished
    if (finished === undefined || !beginsWith(segments, finished.inputs)) return segments
    return [finished.segment, ...segments.slice(finished.inputs.length)]
  }

  /** The chain is this one now: what is or was being merged for another one, or is named by it, is given up. */
  keepOnlyFor(segments: readonly ManifestSegment[]): void {
    if (this.#finished !== undefined && !beginsWith(segments, this.#finished.inputs))
      this.#finished = undefined
    if (this.#running !== undefined && !beginsWith(segments, this.#running.content.segments)) {
      this.#running.controller.abort()
    }
  }

  /** Gives up the merge under way, if there is one, and resolves when it has let go of everything. Never rejects. */
  async abort(): Promise<void> {
    if (this.#running === undefined) return
    this.#running.controller.abort()
    await this.#settings.worker.awaited(this.#running.ended)
  }

  /** As {@link abort}; also what was merged is not to be named any more. */
  async giveUp(): Promise<void> {
    await this.abort()
    this.#finished = undefined
  }

  async #merge(
    owner: LeasedStorage,
    content: CheckpointContent,
    name: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { worker, codec, limits, clock, logger, onMerged, onFailed } = this.#settings
    const startedAtMs = clock.now()
    let committed = false
    try {
      const job = startJob({
        worker,
        storage: owner,
        shared: owner.share(),
        request: { kind: 'merge', name, codec, content, limits },
        signal,
        background: true,
        onTold: (step) => {
          if (step === 'committed') committed = true
        },
      })
      const { segment } = await job.ended
      if (segment === undefined || signal.aborted) throw new Error('the merge was given up')
      await owner.check()
      owner.noteSegment(segment)
      this.#finished = { inputs: content.segments, segment }
      const durationMs = Math.max(0, clock.now() - startedAtMs)
      logger.info({ segment: name, inputs: content.segments.length, durationMs }, 'segments merged')
      onMerged({ through: content.id, sizeBytes: segment.sizeBytes, durationMs })
    } catch (cause) {
      const error = await owner.reasonFor(cause)
      owner.distrustContents()
      if (committed) await removeAfterFailure(owner, [name], error, logger)
      if (signal.aborted) return
      const failure = isStateError(error, 'CORRUPTION') ? error : asCheckpointFailure(error, undefined)
      logger.warn({ segment: name, reason: reasonOf(error) }, 'merge failed; a later checkpoint tries again')
      onFailed(failure)
    }
  }
}

function beginsWith(segments: readonly ManifestSegment[], first: readonly ManifestSegment[]): boolean {
  return first.every(({ name }, index) => segments[index]?.name === name)
}

function namesOf(segments: readonly ManifestSegment[]): string[] {
  return segments.map(({ name }) => name)
}
