import { describe, expect, it } from 'vitest'
import { commitFailure } from './commit-failure.js'

describe.runIf(process.platform === 'linux')('the failure of a commit', () => {
  it('blames no disk of which the file system does not say how large it is', async () => {
    const failure = await commitFailure(new Error('Input/output error'), '/proc/data-1.mdb')
    expect(failure.details.reason).toBe('/proc/data-1.mdb: Input/output error')
  })
})
