/** When a run is killed. */
export interface PlannedKill {
  /** Not before so many requests were reported. */
  readonly atEvents: number
  /** From so many on, which may be the same, the run waits to be killed. */
  readonly latestAtEvents: number
  /** And then after so long, so that it may hit anything: a batch, a snapshot, a file half written. */
  readonly delayMs: number
}

const FIRST_SHARE = 0.2
const LAST_SHARE = 0.9
const LONGEST_DELAY_MS = 40

/**
 * Draws the moments of `kills` kills, one in each of as many equal stretches of the run's middle. Fewer where there are
 * not enough requests: each kill needs one before it and one after it.
 */
export function planKills(random: () => number, kills: number, totalEvents: number): PlannedKill[] {
  const plan: Omit<PlannedKill, 'latestAtEvents'>[] = []
  const stretch = (LAST_SHARE - FIRST_SHARE) / kills
  for (let i = 0; i < kills; i++) {
    const share = FIRST_SHARE + stretch * (i + random())
    const earliest = (plan.at(-1)?.atEvents ?? 0) + 1
    const atEvents = Math.max(earliest, Math.floor(share * totalEvents))
    const delayMs = LONGEST_DELAY_MS * random()
    if (atEvents < totalEvents) plan.push({ atEvents, delayMs })
  }
  return plan.map((kill, i) => {
    const nextAtEvents = plan[i + 1]?.atEvents ?? totalEvents
    return { ...kill, latestAtEvents: Math.floor((kill.atEvents + nextAtEvents) / 2) }
  })
}
