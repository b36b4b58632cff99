// A job that counts clicks and puts out the running total of a user with each of them.

import type { JobOptions } from '../../src/job/job-options.js'
import { utf8 } from '../../src/state/codec/byte-strings.js'
import { float64, uint32 } from '../../src/state/codec/numbers.js'
import { reducing, value } from '../../src/state/kinds/definitions.js'
import { defineState } from '../../src/state/schema/define-state.js'

export interface Click {
  readonly user: string
  readonly at: number
  readonly price: number
}

export interface Total {
  readonly user: string
  readonly count: number
  readonly spent: number
}

export const clicksSchema = defineState({
  key: utf8,
  states: { count: value(uint32, { default: () => 0 }), spent: reducing(float64, (sum, more) => sum + more) },
})
export type ClicksSchema = typeof clicksSchema
export type ClicksJobOptions = JobOptions<Click, ClicksSchema, Total>

export const clicks = (count: number): Click[] =>
  Array.from({ length: count }, (_, i) => ({ user: `u${i % 7}`, at: i, price: i % 5 }))

/** What the outputs must be: the running total after each event. */
export function expectedTotals(events: readonly Click[]): Total[] {
  const totals = new Map<string, Total>()
  return events.map(({ user, price }) => {
    const before = totals.get(user) ?? { user, count: 0, spent: 0 }
    const total = { user, count: before.count + 1, spent: before.spent + price }
    totals.set(user, total)
    return total
  })
}

/** What all jobs of clicks have in common. */
export const clicksJob = {
  name: 'clicks',
  schema: clicksSchema,
  key: ({ user }: Click) => user,
  process: ({ user, price }: Click, { store, key, emit }) => {
    store.count.update(key, (count) => count + 1)
    store.spent.add(key, price)
    emit({ user, count: store.count.get(key), spent: store.spent.get(key) ?? 0 })
  },
} satisfies Partial<ClicksJobOptions>
