// What each tenant has spent on language models in the last hour: an alert when it is more than the budget, and another when it is not any more.

import { boundedDisorder, defineJob, type ProcessContext } from 'holdfast/job'
import { bool, defineState, float64, int64, map, utf8, value } from 'holdfast/state'

export interface LlmRequest {
  readonly tenant: string
  readonly at: number
  readonly costUsd: number
}

export interface BudgetAlert {
  readonly tenant: string
  readonly at: number
  readonly kind: 'over budget' | 'within budget'
  readonly spentUsd: number
}

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const BUDGET_USD = 10

const schema = defineState({
  key: utf8,
  states: {
    spent: value(float64, { default: () => 0 }),
    byMinute: map(int64, float64),
    isOver: value(bool, { default: () => false }),
  },
})

type Context = Pick<ProcessContext<string, typeof schema, BudgetAlert>, 'state' | 'key' | 'emit'>

/** Minutes that are an hour old count no more. */
function forget(at: number, { state }: Context): void {
  for (const [minute, cost] of state.byMinute.entries({ lte: at - HOUR_MS })) {
    state.byMinute.delete(minute)
    state.spent.update((spent) => spent - cost)
  }
}

function tell(at: number, { state, key, emit }: Context): void {
  const spentUsd = state.spent.get()
  const isOver = spentUsd > BUDGET_USD
  if (isOver === state.isOver.get()) return
  state.isOver.put(isOver)
  emit({ tenant: key, at, kind: isOver ? 'over budget' : 'within budget', spentUsd })
}

export const budgetGuard = defineJob<LlmRequest, BudgetAlert>()({
  name: 'budget guard',
  key: ({ tenant }) => tenant,
  timestamp: ({ at }) => at,
  time: { watermarks: boundedDisorder(5_000), idleAfterMs: 30_000 },
  schema,
  process({ at, costUsd }, context) {
    const minute = Math.floor(at / MINUTE_MS) * MINUTE_MS
    // The watermark follows the events: timers of the minutes before may not have fired yet.
    forget(at, context)
    context.state.byMinute.update(minute, (cost = 0) => cost + costUsd)
    context.state.spent.update((spent) => spent + costUsd)
    context.timers.event.set(minute + HOUR_MS)
    tell(at, context)
  },
  onTimer({ timestampMs }, context) {
    forget(timestampMs, context)
    tell(timestampMs, context)
  },
})
