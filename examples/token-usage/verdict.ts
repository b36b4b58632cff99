import type { RunResult } from './protocol.js'

/** One kill and the restart after it. */
export interface Kill {
  /** Requests that the worker had reported when it was killed. */
  readonly atEvents: number
  /** How many requests the newest checkpoint held that it had reported. */
  readonly checkpointEvents: number
  /** What the next worker restored; absent where it found nothing. */
  readonly restored?: {
    readonly checkpointId: string
    readonly events: number
    readonly durationMs: number
  }
}

export interface Verdict {
  /** Same digest, same counts, and no checkpoint lost. */
  readonly equal: boolean
  /** What is not as it should be, a sentence each; empty where all is well. */
  readonly differences: readonly string[]
}

type Compared = Pick<RunResult, 'digest' | 'windows' | 'events' | 'skippedLines'>

/** Holds the run that was killed against the one that was not. */
export function judge(uninterrupted: Compared, killed: Compared, kills: readonly Kill[]): Verdict {
  const differences: string[] = []
  const compare = (what: string, expected: unknown, found: unknown) => {
    if (expected !== found) differences.push(`${what}: ${expected} without a kill, ${found} with it`)
  }
  compare('digest of the results', uninterrupted.digest, killed.digest)
  compare('windows', uninterrupted.windows, killed.windows)
  compare('requests', uninterrupted.events, killed.events)
  compare('skipped lines', uninterrupted.skippedLines, killed.skippedLines)
  for (const { checkpointEvents, restored } of kills) {
    if (restored === undefined) {
      differences.push(`a checkpoint at request ${checkpointEvents} was reported, but nothing was restored`)
    } else if (restored.events < checkpointEvents) {
      differences.push(
        `a checkpoint at request ${checkpointEvents} was reported, but an older one was restored (${restored.events})`,
      )
    }
  }
  return { equal: differences.length === 0, differences }
}
