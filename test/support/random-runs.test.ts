import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { onRandomRuns } from './random-runs.js'

/** A run fails from the hundredth value on, and each takes a second of the clock that is given. */
function tooLarge() {
  const drawn: number[] = []
  const property = fc.asyncProperty(fc.nat({ max: 1_000_000 }), async (n) => {
    drawn.push(n)
    expect(n).toBeLessThan(100)
  })
  return { drawn, property, nowMs: () => drawn.length * 1_000 }
}

async function messageOf(failing: Promise<void>): Promise<string> {
  return failing.then(
    () => 'did not fail',
    (error: Error) => error.message,
  )
}

describe('random runs', () => {
  afterEach(() => vi.unstubAllEnvs())

  it('look for a shorter failure as long as there is time', async () => {
    const { property } = tooLarge()
    expect(await messageOf(onRandomRuns(property, { runs: 20 }))).toContain('Counterexample: [100]')
  })

  it('stop looking for one when the time is over, and print the failure and its seed', async () => {
    const { property, drawn, nowMs } = tooLarge()
    const message = await messageOf(onRandomRuns(property, { runs: 20, shrinkMs: 3_000, nowMs }))
    expect(message).toMatch(/seed: -?\d+/)
    expect(message).toContain('expected')
    const firstFailure = drawn.findIndex((n) => n >= 100)
    expect(drawn.slice(firstFailure).length).toBe(3)
  })

  it('look for none where a shorter one is another one', async () => {
    const { property, drawn } = tooLarge()
    expect(await messageOf(onRandomRuns(property, { runs: 20, shrinks: false }))).toMatch(/seed: -?\d+/)
    expect(drawn.findIndex((n) => n >= 100)).toBe(drawn.length - 1)
  })

  it('say how to repeat the run that failed, which begins with it', async () => {
    const { property, drawn } = tooLarge()
    const message = await messageOf(onRandomRuns(property, { runs: 20, shrinks: false }))
    const [, seed = ''] =
      /HOLDFAST_MODEL_SEED=(\S+) npx vitest run test\/support\/random-runs.test.ts/.exec(message) ?? []
    vi.stubEnv('HOLDFAST_MODEL_SEED', seed)
    const again = tooLarge()
    await messageOf(onRandomRuns(again.property, { runs: 1 }))
    expect(again.drawn[0]).toBe(drawn.at(-1))
  })

  it('repeat all runs of a seed', async () => {
    vi.stubEnv('HOLDFAST_MODEL_SEED', '-7')
    const [first, second] = [tooLarge(), tooLarge()]
    await messageOf(onRandomRuns(first.property, { runs: 20 }))
    await messageOf(onRandomRuns(second.property, { runs: 20 }))
    expect(second.drawn).toEqual(first.drawn)
  })

  it('draw the same with a seed that is given', async () => {
    const [first, second] = [tooLarge(), tooLarge()]
    await messageOf(onRandomRuns(first.property, { runs: 20, seed: 7 }))
    await messageOf(onRandomRuns(second.property, { runs: 20, seed: 7 }))
    expect(second.drawn).toEqual(first.drawn)
  })

  it('refuse a seed that is none', async () => {
    vi.stubEnv('HOLDFAST_MODEL_SEED', 'seven')
    expect(await messageOf(onRandomRuns(tooLarge().property, { runs: 1 }))).toContain('"seven"')
  })

  it.each([1.5, 0, -1, Number.NaN, Infinity])(
    'refuse %s runs, which would never end, or prove nothing',
    async (runs) => {
      expect(await messageOf(onRandomRuns(tooLarge().property, { runs }))).toContain('whole')
    },
  )
})
