import { JobTest, testJob } from 'holdfast/testing'
import { describe, expect, it } from 'vitest'
import { budgetGuard } from './budget-guard.js'
import { clickToPurchase } from './click-to-purchase.js'
import { sessionWindows } from './session-windows.js'
import { GAP_MS, sessions } from './sessions.js'

const MINUTE_MS = 60_000
const START_MS = 1_767_225_600_000

describe('the budget guard', () => {
  const request = (tenant: string, minute: number, costUsd: number) => ({
    tenant,
    at: START_MS + minute * MINUTE_MS,
    costUsd,
  })

  it('tells when a tenant has spent too much in an hour, and when that is over', async () => {
    const { outputs } = await testJob(budgetGuard, [
      request('acme', 0, 6),
      request('umbra', 1, 9),
      request('acme', 10, 5),
      request('acme', 11, 1),
      request('umbra', 62, 8),
      request('umbra', 130, 1),
    ])
    expect(outputs).toEqual([
      { tenant: 'acme', at: START_MS + 10 * MINUTE_MS, kind: 'over budget', spentUsd: 11 },
      { tenant: 'acme', at: START_MS + 60 * MINUTE_MS, kind: 'within budget', spentUsd: 6 },
    ])
  })

  it('goes on where it was after a restart, and leaves nothing behind', async () => {
    await using test = await JobTest.start(budgetGuard)
    await test.send(request('acme', 0, 6))
    await test.restart()
    await test.send(request('acme', 1, 6))
    expect(test.takeOutputs()).toMatchObject([{ kind: 'over budget', spentUsd: 12 }])
    await test.restart()
    await test.send(request('other', 100, 1))
    expect(test.takeOutputs()).toMatchObject([{ tenant: 'acme', kind: 'within budget', spentUsd: 6 }])
    expect(test.store.spent.get('acme')).toBe(0)
    expect(test.store.byMinute.size('acme')).toBe(0)
  })
})

describe('sessions', () => {
  it('end after half an hour without a page, also where the next page comes first', async () => {
    const view = (user: string, at: number) => ({ user, at: START_MS + at })
    const { outputs } = await testJob(sessions, [
      view('ann', 0),
      view('bob', 1_000),
      view('ann', GAP_MS - 1),
      view('ann', 2 * GAP_MS - 2),
      view('bob', 5 * GAP_MS),
      view('ann', 5 * GAP_MS + 1),
    ])
    expect(outputs.map(({ user, from, to, pages }) => [user, from - START_MS, to - START_MS, pages])).toEqual(
      [
        ['bob', 1_000, 1_000, 1],
        ['ann', 0, 2 * GAP_MS - 2, 3],
        ['bob', 5 * GAP_MS, 5 * GAP_MS, 1],
        ['ann', 5 * GAP_MS + 1, 5 * GAP_MS + 1, 1],
      ],
    )
  })
})

describe('sessions by windows', () => {
  it('become one where a view comes late that belongs to both', async () => {
    const view = (minute: number) => ({ user: 'ann', at: START_MS + minute * MINUTE_MS })
    await using test = await JobTest.start(sessionWindows)
    await test.send(view(0), view(40), view(39.5))
    await test.restart()
    await test.send(view(69), view(200))
    await test.end()
    expect(test.outputs.map(({ from, to, pages }) => [from - START_MS, to - START_MS, pages])).toEqual([
      [0, 0, 1],
      [39.5 * MINUTE_MS, 69 * MINUTE_MS, 3],
      [200 * MINUTE_MS, 200 * MINUTE_MS, 1],
    ])
  })
})

describe('clicks and purchases', () => {
  it('are paired within an hour, and only of one user and product', async () => {
    const common = { user: 'ann', product: 'lamp' }
    const click = (minute: number, campaign: string) => ({
      ...common,
      campaign,
      at: START_MS + minute * MINUTE_MS,
    })
    const purchase = (minute: number) => ({ ...common, price: 30, at: START_MS + minute * MINUTE_MS })
    const { outputs } = await testJob(clickToPurchase, [
      click(0, 'spring'),
      click(30, 'mail'),
      { ...click(31, 'other'), product: 'desk' },
      purchase(61),
      click(60.5, 'late'),
    ])
    expect(outputs).toEqual([
      { campaign: 'mail', product: 'lamp', price: 30, afterMs: 31 * MINUTE_MS },
      { campaign: 'late', product: 'lamp', price: 30, afterMs: 0.5 * MINUTE_MS },
    ])
  })
})
