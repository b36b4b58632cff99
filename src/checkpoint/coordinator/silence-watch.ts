// When nobody needs to wait any longer for a storage, or for the worker: neither slowness nor this thread's own work ends
// a wait, only that for a while nothing at all was heard from them.

import { type CancelTimer, setPatientTimer, systemClock } from '../../base/clock.js'
import type { CheckpointStorage } from '../../storage/checkpoint-storage.js'
import type { CheckpointWorker, JobStart, JobStarter } from '../worker/checkpoint-worker.js'
import type { WorkerJob } from '../worker/worker-job.js'

const LOOK_EVERY_MS = 200
/** A thread that is not ready by then is taken for one that hangs. */
const MAX_START_MS = 60_000

/** Listens to a coordinator's storage and to its jobs in the worker. */
export class SilenceWatch {
  readonly maxSilenceMs: number
  readonly #jobs = new Set<WorkerJob>()
  #signs = 0
  /** What others do that have an end of their own, such as the backend that builds what it was given. */
  #held = 0

  constructor(maxSilenceMs: number) {
    this.maxSilenceMs = maxSilenceMs
  }

  /** Something was heard. */
  readonly note = (): void => {
    this.#signs++
  }

  /** Until the function it returns is called, nobody is taken for silent. */
  hold(): () => void {
    this.#held++
    let held = true
    return () => {
      if (held) this.#held--
      held = false
    }
  }

  /** The same worker; its jobs are listened to. */
  over(worker: CheckpointWorker): JobStarter {
    return {
      isReadyFor: (module) => worker.isReadyFor(module),
      ready: (module) => this.#starting(worker, module),
      awaited: (work) => worker.awaited(work),
      start: (start: JobStart) => {
        const isReady = start.isHere === true || worker.isReadyFor(undefined)
        const job = worker.start(start)
        if (!isReady) void this.#starting(worker).catch(() => {})
        this.#jobs.add(job)
        const over = () => {
          this.#jobs.delete(job)
          this.note()
        }
        job.ended.then(over, over)
        return job
      },
    }
  }

  /** A thread that loads its modules cannot be heard, and takes long where many do so at once. */
  async #starting(worker: CheckpointWorker, module?: string): Promise<void> {
    const release = this.hold()
    const cancelTimer = setPatientTimer(systemClock, release, MAX_START_MS)
    await worker.ready(module).finally(() => {
      cancelTimer()
      release()
      this.note()
    })
  }

  /** Calls back when nothing was heard for `maxSilenceMs`. Returns how to stop listening. */
  whenSilent(callback: () => void): CancelTimer {
    let cancel: CancelTimer = () => {}
    const look = (silentMs: number, heard: number) => {
      cancel = setPatientTimer(
        systemClock,
        () => {
          const now = this.#heard()
          const longerMs = now === heard && this.#held === 0 ? silentMs + stepMs : 0
          if (longerMs >= this.maxSilenceMs + this.#allowanceMs()) callback()
          else look(longerMs, now)
        },
        stepMs,
      )
    }
    const stepMs = Math.min(LOOK_EVERY_MS, this.maxSilenceMs)
    look(0, this.#heard())
    return () => cancel()
  }

  /** Whether the work has settled before nothing was heard for `maxSilenceMs`. */
  async isHeardUntil(work: Promise<unknown>): Promise<boolean> {
    let stopListening: CancelTimer = () => {}
    const silence = new Promise<boolean>((resolve) => {
      stopListening = this.whenSilent(() => resolve(false))
    })
    const settled = work.then(
      () => true,
      () => true,
    )
    return await Promise.race([settled, silence]).finally(() => stopListening())
  }

  #heard(): number {
    let heard = this.#signs
    for (const { pulse } of this.#jobs) heard += pulse.beats
    return heard
  }

  #allowanceMs(): number {
    return Math.max(0, ...[...this.#jobs].map(({ pulse }) => pulse.allowanceMs))
  }
}

/** The same storage; whatever comes back from it, or from what it hands out, is noted. */
export function notedStorage(storage: CheckpointStorage, note: () => void): CheckpointStorage {
  return noted(storage, note)
}

function noted<Target extends object>(target: Target, note: () => void): Target {
  // Over an object of its own: a frozen one must be shown as it is.
  return new Proxy(Object.create(null) as Target, {
    has: (_, name) => name in target,
    get: (_, name) => {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        const result: unknown = Reflect.apply(member, target, args)
        return isPromise(result) ? result.then((value) => heard(value), failed) : result
      }
    },
  })
  function heard(value: unknown): unknown {
    note()
    // Leases, readers and writers; what else comes back is data.
    return hasCalls(value) ? noted(value, note) : value
  }
  function failed(error: unknown): never {
    note()
    throw error
  }
}

function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { then?: unknown } | undefined)?.then === 'function'
}

function hasCalls(value: unknown): value is object {
  const { close, abort, release } = (value ?? {}) as Record<'close' | 'abort' | 'release', unknown>
  return [close, abort, release].some((each) => typeof each === 'function')
}
