// Visits of users: a visit ends when its user does nothing for half an hour.

import { boundedDisorder, defineJob } from 'holdfast/job'
import { defineState, int64, struct, uint32, utf8, value } from 'holdfast/state'

export interface PageView {
  readonly user: string
  readonly at: number
}

export interface Visit {
  readonly user: string
  readonly from: number
  readonly to: number
  readonly pages: number
}

export const GAP_MS = 30 * 60_000

export const sessions = defineJob<PageView, Visit>()({
  name: 'sessions',
  key: ({ user }) => user,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(0) },
  schema: defineState({
    key: utf8,
    states: { visit: value(struct({ from: int64, to: int64, pages: uint32 })) },
  }),
  process({ user, at }, { state, timers, emit }) {
    const visit = state.visit.get()
    const goesOn = visit !== undefined && at - visit.to < GAP_MS
    if (visit !== undefined) timers.event.delete(visit.to + GAP_MS)
    // The watermark follows the events: the timer of the visit before may not have fired yet.
    if (visit !== undefined && !goesOn) emit({ user, ...visit })
    state.visit.put(goesOn ? { ...visit, to: at, pages: visit.pages + 1 } : { from: at, to: at, pages: 1 })
    timers.event.set(at + GAP_MS)
  },
  onTimer(_, { key, state, emit }) {
    const visit = state.visit.get()
    if (visit === undefined) return
    emit({ user: key, ...visit })
    state.visit.delete()
  },
})
