// What becomes of calls while a server is away: they are made again after growing pauses, and not for ever.

import { setMaxListeners } from 'node:events'
import { orAborted } from '../base/abort.js'
import { type Clock, pauseUnless, settlesWithin, systemClock } from '../base/clock.js'
import { isStateError, StateError } from '../base/errors.js'
import { type Rule, rules } from '../base/options.js'
import { isErrorLike } from '../base/shapes.js'
import { withoutSecrets } from './secrets.js'

const FIRST_PAUSE_MS = 20
const LONGEST_PAUSE_MS = 2_000
const DEFAULT_RECONNECT_FOR_MS = 60_000
const DEFAULT_ANSWER_WITHIN_MS = 30_000

/** How long a server may be away. */
export interface OutageOptions {
  /** How long a server that is away is tried for, in milliseconds: then the job ends with `STORAGE_ERROR`. Default 60,000. */
  readonly reconnectForMs?: number
  /** How long one call is waited for, in milliseconds: then it counts as failed, and is made again. Default 30,000. */
  readonly answerWithinMs?: number
}

export const outageRules: { readonly [name: string]: Rule } = {
  reconnectForMs: rules.nonNegativeMs,
  answerWithinMs: rules.positiveMs,
}

/** Of the options of a source or sink, those about outages: what is `undefined` is left out. */
export function outageOf({ reconnectForMs, answerWithinMs }: OutageOptions): OutageOptions {
  return {
    ...(reconnectForMs !== undefined && { reconnectForMs }),
    ...(answerWithinMs !== undefined && { answerWithinMs }),
  }
}

interface OutageSettings extends OutageOptions {
  /** Names the server in errors. */
  readonly storage: string
  /** Whether an error, as it was thrown, may pass by itself: the connection was lost, or the server is not ready. */
  readonly passes: (error: Error) => boolean
  readonly clock?: Clock
  /** Pauses grow up to this many milliseconds. Default 2,000. */
  readonly longestPauseMs?: number
  /** Waits between two attempts; it ends when one of the signals fires. */
  readonly pause?: (ms: number, ...signals: readonly AbortSignal[]) => Promise<void>
}

/** Makes calls to one server, again where they fail by an outage. `STORAGE_ERROR` tells of what does not pass. */
export class Outage {
  readonly #settings: OutageSettings
  readonly #clock: Clock
  readonly #closing = new AbortController()
  #sinceMs: number | undefined
  #pauseMs = FIRST_PAUSE_MS

  constructor(settings: OutageSettings) {
    this.#settings = settings
    this.#clock = settings.clock ?? systemClock
    // Each call that is under way listens, and there may be many.
    setMaxListeners(0, this.#closing.signal)
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted
  }

  /**
   * The answer, once there is one. `undefined` where the signal has fired before, or this was closed. A call must be such that
   * making it again does no harm: it may have arrived before. An attempt that is given up goes on: a call must change nothing of what
   * its caller holds, and what it has opened `discard` closes where its answer comes too late.
   */
  async untilAnswered<Answer>(
    operation: string,
    call: () => Promise<Answer>,
    signal?: AbortSignal,
    discard?: (late: Answer) => unknown,
  ): Promise<Answer | undefined> {
    const signals = signal === undefined ? [this.#closing.signal] : [this.#closing.signal, signal]
    const isOver = () => signals.some(({ aborted }) => aborted)
    while (!isOver()) {
      try {
        const answer = await this.#withinLimit(operation, call, signals, discard)
        this.passed()
        return answer
      } catch (error) {
        if (isOver()) return undefined
        await this.#pauseAfter(operation, error, signals)
      }
    }
    return undefined
  }

  /**
   * What goes on beyond one call has failed: waits, each time longer, so that it can begin anew. `STORAGE_ERROR` where it does not pass, or
   * has failed for too long since it last `passed`.
   */
  async failed(operation: string, error: unknown): Promise<void> {
    await this.#pauseAfter(operation, error, [this.#closing.signal])
  }

  /** The server does what it is there for. */
  passed(): void {
    this.#sinceMs = undefined
    this.#pauseMs = FIRST_PAUSE_MS
  }

  /** As `untilAnswered` for what cannot do without the answer: `ABORTED` where there is none. */
  async answerOf<Answer>(
    operation: string,
    call: () => Promise<Answer>,
    signal?: AbortSignal,
    discard?: (late: Answer) => unknown,
  ): Promise<Answer> {
    const boxed = async () => ({ of: await call() })
    const answer = await this.untilAnswered(operation, boxed, signal, ({ of }) => discard?.(of))
    if (answer === undefined) throw new StateError('ABORTED', { operation })
    return answer.of
  }

  /** One attempt, which fails where it takes too long or this is closed; what has to be made again is the caller's to know. */
  async once<Answer>(operation: string, call: () => Promise<Answer>): Promise<Answer> {
    return await this.#withinLimit(operation, call, [this.#closing.signal])
  }

  /** What work comes to that may take as long as it needs, until this is closed: then it is `ABORTED`, and nobody waits for it any more. */
  async untilClosed<Result>(operation: string, work: Promise<Result>): Promise<Result> {
    return await orAborted(work, this.#closing.signal, () => new StateError('ABORTED', { operation }))
  }

  /** Ends all waiting. */
  close(): void {
    this.#closing.abort()
  }

  async #withinLimit<Answer>(
    operation: string,
    call: () => Promise<Answer>,
    signals: readonly AbortSignal[],
    discard?: (late: Answer) => unknown,
  ): Promise<Answer> {
    const { answerWithinMs = DEFAULT_ANSWER_WITHIN_MS } = this.#settings
    // Nobody would be told that it is over.
    if (signals.some(({ aborted }) => aborted)) throw new StateError('ABORTED', { operation })
    const answer = call()
    let end = () => {}
    const ended = new Promise<boolean>((resolve) => {
      end = () => resolve(false)
    })
    for (const signal of signals) signal.addEventListener('abort', end, { once: true })
    try {
      if (await Promise.race([settlesWithin(answer, answerWithinMs), ended])) return await answer
    } finally {
      for (const signal of signals) signal.removeEventListener('abort', end)
    }
    answer.then(discard).catch(() => {})
    const late = new Error(`no answer within ${answerWithinMs} ms to '${operation}'`)
    throw Object.assign(late, { code: NO_ANSWER })
  }

  async #pauseAfter(operation: string, error: unknown, signals: readonly AbortSignal[]): Promise<void> {
    const { pause = pauseUnless, longestPauseMs = LONGEST_PAUSE_MS } = this.#settings
    this.#throwUnlessItPasses(operation, error)
    await pause(this.#pauseMs, ...signals)
    this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs)
  }

  #throwUnlessItPasses(operation: string, error: unknown): void {
    if (isStateError(error)) throw error
    const { storage, passes, reconnectForMs = DEFAULT_RECONNECT_FOR_MS } = this.#settings
    const cause = withoutSecrets(error)
    const nowMs = this.#clock.now()
    this.#sinceMs ??= nowMs
    const thrown = isErrorLike(error) ? error : cause
    const hasPassed = (cause as { readonly code?: string }).code === NO_ANSWER || passes(thrown)
    // A clock that goes back makes an outage no longer.
    if (hasPassed && Math.abs(nowMs - this.#sinceMs) < reconnectForMs) return
    const reason = hasPassed ? `${cause.message} (for ${reconnectForMs} ms)` : cause.message
    throw new StateError('STORAGE_ERROR', { storage, operation, reason }, { cause })
  }
}

const NO_ANSWER = 'HOLDFAST_NO_ANSWER'
