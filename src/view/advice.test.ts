import { describe, expect, it } from 'vitest'
import { StateError } from '../index.js'
import { adviceFor } from './advice.js'

describe('what to do about FENCED', () => {
  it('is said once: by the error itself where it knows the owner, otherwise behind it', () => {
    const owners = ['process 7; stop it, or use another directory', 'nobody: its note is gone']
    const advised = owners.map((owner) => adviceFor(new StateError('FENCED', { resource: 'a; b', owner })))
    expect(advised).toEqual([undefined, expect.stringContaining('stop the job')])
  })
})
