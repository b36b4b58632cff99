import { describe, expect, it } from 'vitest'
import { judge, type Kill } from './verdict.js'

const run = { digest: 'abc', windows: 3, events: 10, skippedLines: 1 }
const kill: Kill = {
  atEvents: 7,
  checkpointEvents: 5,
  restored: { checkpointId: 'chk-0000000002', events: 5, durationMs: 1 },
}

describe('judge', () => {
  it('finds equal runs equal', () => {
    expect(judge(run, { ...run }, [kill])).toEqual({ equal: true, differences: [] })
  })

  it.each([
    [{ digest: 'abd' }, 'digest of the results: abc without a kill, abd with it'],
    [{ windows: 4 }, 'windows: 3 without a kill, 4 with it'],
    [{ events: 11 }, 'requests: 10 without a kill, 11 with it'],
    [{ skippedLines: 2 }, 'skipped lines: 1 without a kill, 2 with it'],
  ])('finds %j', (change, difference) => {
    expect(judge(run, { ...run, ...change }, [kill])).toEqual({ equal: false, differences: [difference] })
  })

  it('accepts a checkpoint that was published but not yet reported', () => {
    const newer = {
      ...kill,
      restored: { checkpointId: 'chk-0000000003', events: 6, durationMs: 1 },
    }
    expect(judge(run, run, [newer]).equal).toBe(true)
  })

  it('finds a checkpoint that was reported and then lost', () => {
    expect(judge(run, run, [{ ...kill, checkpointEvents: 6 }]).equal).toBe(false)
    expect(judge(run, run, [{ atEvents: 7, checkpointEvents: 5 }]).equal).toBe(false)
  })
})
