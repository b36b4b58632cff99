// What the server answers.

import { useEffect, useRef, useState } from 'preact/hooks'

export interface Overview {
  readonly places: readonly { readonly name: string; readonly kind: 'checkpoints' | 'store' }[]
  readonly isLive: boolean
}

export interface Checkpoint {
  readonly id: string
  readonly createdAtMs: number
  readonly kind: 'full' | 'incremental' | 'savepoint'
  readonly entryCount: number
  readonly sizeBytes: number
  readonly isTyped: boolean
}

/** One that cannot be read. */
export interface SkippedCheckpoint {
  readonly id: string
  readonly code: string
  readonly reason: string
}

export interface Checkpoints {
  readonly checkpoints: readonly Checkpoint[]
  readonly skipped: readonly SkippedCheckpoint[]
}

export interface StateOfSchema {
  readonly name: string
  readonly kind: string
  readonly codec: string
  readonly mapKey?: string
  readonly version: number
  readonly ttl?: string
}

export interface About extends Partial<Checkpoint> {
  readonly label: string
  readonly clockMs: number
  readonly entryCount: number
  readonly schema: {
    readonly key: string
    readonly keyGroups: number
    readonly states: readonly StateOfSchema[]
  } | null
  readonly engine?: string
  readonly compression?: string
  readonly version?: string
  readonly source?: unknown
  readonly segments?: readonly {
    readonly name: string
    readonly role: string
    readonly entryCount: number
    readonly sizeBytes: number
    readonly rawBytes: number
    readonly sha256: string
  }[]
}

export interface Entry {
  readonly state?: string
  readonly key: unknown
  readonly mapKey?: unknown
  readonly place?: number
  readonly value: unknown
  readonly expiresAt?: string
  readonly rawKey: string
  readonly bytes: number
  readonly isCut?: boolean
  readonly problem?: string
}

export interface EntriesPage {
  readonly entries: readonly Entry[]
  readonly examined: number
  readonly next: string | null
  readonly tellsExpiry: boolean
}

export interface Difference {
  readonly kind: 'added' | 'removed' | 'changed'
  readonly state: string
  readonly key: unknown
  readonly mapKey: unknown
  readonly before: { readonly value: unknown; readonly expiresAt: string | null } | null
  readonly after: { readonly value: unknown; readonly expiresAt: string | null } | null
}

export interface Diff {
  readonly a: Checkpoint
  readonly b: Checkpoint
  readonly counts: readonly {
    readonly state: string
    readonly added: number
    readonly removed: number
    readonly changed: number
  }[]
  readonly differences: readonly Difference[]
  readonly isWhole: boolean
}

export interface Survey {
  readonly isWhole: boolean
  readonly entries: number
  readonly bytes: number
  readonly parts: readonly { readonly name: string; readonly entries: number; readonly bytes: number }[]
  readonly lives: readonly { readonly name: string; readonly entries: number }[]
  readonly largest: readonly {
    readonly state: string
    readonly key: unknown
    readonly rawKey: string
    readonly bytes: number
  }[]
  readonly keyGroups: readonly number[]
  readonly spread: { readonly fullest: number; readonly entries: number; readonly skew: number } | null
}

export interface Hot {
  readonly keys: readonly {
    readonly state: string
    readonly key: unknown
    readonly mapKey: unknown
    readonly rawKey: string
    readonly changes: number
  }[]
  readonly pairs: number
  readonly isWhole: boolean
  /** Those that lie between others that are compared, and cannot be read. */
  readonly between: readonly SkippedCheckpoint[]
}

export interface TimersOfOneTime {
  readonly waiting: number
  readonly due: number
  readonly nextMs: number | null
}

export interface Timers {
  readonly event: TimersOfOneTime
  readonly processing: TimersOfOneTime
}

export interface Job {
  readonly gone?: string
  readonly events: number
  readonly badEvents: number
  readonly lateEvents: number
  readonly outputs: number
  readonly firedTimers: number
  readonly waitingTimers: number
  readonly cuts: number
  readonly sinceCutMs: number
  readonly watermarkMs: number | null
  readonly behindMs: number | null
  readonly openWindows: number
  readonly windows: { readonly [name: string]: { readonly open: number; readonly nextMs: number | null } }
  readonly timers: Timers
  readonly state: string
  readonly isReady: boolean
  readonly isHealthy: boolean
  readonly stalled: { readonly call: string; readonly forMs: number } | null
  readonly failedCuts: { readonly count: number; readonly error: string } | null
  readonly error: string | null
  readonly stages: {
    readonly [name: string]: { readonly events: number; readonly badEvents: number; readonly timers: Timers }
  }
  readonly partitions: {
    readonly [id: string]: {
      readonly position: unknown
      readonly highestMs: number | null
      readonly watermarkMs: number | null
      readonly isIdle: boolean
      readonly hasEnded: boolean
    }
  }
}

export interface Coordinator {
  readonly gone?: string
  readonly created: number
  readonly failed: number
  readonly running: boolean
  readonly merging: boolean
  readonly merges: number
  readonly chainDeltas: number
  readonly lastDurationMs?: number
  readonly lastSizeBytes?: number
  readonly lastCutMs?: number
  readonly lastError: string | null
  readonly lastSuccessAtMs: number | null
  readonly events: readonly {
    readonly atMs: number
    readonly what: string
    readonly id?: string
    readonly durationMs?: number
    readonly bytes?: number
    readonly error?: string
  }[]
}

export interface Backend {
  readonly gone?: string
  readonly entries: number
  readonly gets: number
  readonly misses: number
  readonly puts: number
  readonly deletes: number
  readonly expired: number
  readonly bytesWritten: number
  readonly openSnapshots: number
}

export interface Live {
  readonly nowMs: number
  readonly jobs: { readonly [name: string]: Job }
  readonly coordinators: { readonly [name: string]: Coordinator }
  readonly backends: { readonly [name: string]: Backend }
  readonly eventLoopDelayMs: {
    readonly median: number | null
    readonly p99: number | null
    readonly max: number | null
  }
}

export type Query = { readonly [name: string]: string | number | undefined }

/** Asks the server. Rejects with what it says is wrong, or that it does not answer. */
export async function ask<Answer>(name: string, query: Query, signal?: AbortSignal): Promise<Answer> {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  const params = new URLSearchParams(given.map(([key, value]) => [key, String(value)]))
  let response: Response
  try {
    response = await fetch(`api/${name}?${params}`, signal === undefined ? {} : { signal })
  } catch (error) {
    if (signal?.aborted === true) throw error
    throw new Error('The inspector does not answer. Does the process still run?', { cause: error })
  }
  if (response.ok) return (await response.json()) as Answer
  const text = await response.text()
  throw new Error(messageIn(text))
}

function messageIn(text: string): string {
  try {
    return (JSON.parse(text) as { error?: string }).error ?? text
  } catch {
    return text
  }
}

export interface Asked<Answer> {
  readonly answer: Answer | undefined
  /** What the answer is to, which may be the question before this one. */
  readonly answered: Query | undefined
  readonly error: string | undefined
  readonly isLoading: boolean
}

const NO_ANSWER = { answer: undefined, answered: undefined } as const

/** The answer to a question; what was answered before stays until there is a new one. `undefined` as a name asks nothing. */
export function useAsked<Answer>(name: string | undefined, query: Query, turn = 0): Asked<Answer> {
  const [asked, setAsked] = useState<Asked<Answer>>({ ...NO_ANSWER, error: undefined, isLoading: true })
  const question = JSON.stringify([name, query])
  useEffect(() => {
    if (name === undefined) {
      setAsked({ ...NO_ANSWER, error: undefined, isLoading: false })
      return undefined
    }
    const stop = new AbortController()
    setAsked((last) => ({ ...last, error: undefined, isLoading: true }))
    ask<Answer>(name, query, stop.signal)
      .then((answer) => setAsked({ answer, answered: query, error: undefined, isLoading: false }))
      .catch((error: unknown) => {
        if (!stop.signal.aborted) setAsked({ ...NO_ANSWER, error: messageOf(error), isLoading: false })
      })
    return () => stop.abort()
  }, [question, turn])
  return asked
}

/**
 * The newest checkpoint (with `nth`, one before it) of the time when a view was opened, for as long as it is there: beside a job that makes
 * checkpoints, what is looked at stays.
 */
export function usePinned(place: string, listed: readonly Checkpoint[], nth = 0): string | undefined {
  const pinned = useRef<{ readonly place: string; readonly id: string | undefined } | undefined>(undefined)
  const kept = pinned.current
  if (kept?.place === place && listed.some(({ id }) => id === kept.id)) return kept.id
  pinned.current = { place, id: listed[nth]?.id }
  return pinned.current.id
}

export const messageOf = (error: unknown): string =>
  String((error as { message?: unknown } | undefined)?.message ?? error)
