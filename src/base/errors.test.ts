import { expect, it } from 'vitest'
import { StateError, type StateErrorCode, type StateErrorDetails } from './errors.js'

function messageOf<Code extends StateErrorCode>(code: Code, details: StateErrorDetails[Code]): string {
  return new StateError(code, details).message
}

it('an operation that failed reads as a sentence, whatever it was to do', () => {
  const of = { storage: 'file:checkpoints', reason: 'ENOENT' }
  expect(messageOf('STORAGE_ERROR', { ...of, operation: 'create the directory' })).toBe(
    'file:checkpoints: cannot create the directory: ENOENT',
  )
  expect(messageOf('STORAGE_ERROR', { ...of, operation: 'commit' })).toBe(
    'file:checkpoints: cannot commit: ENOENT',
  )
  expect(messageOf('ABORTED', { operation: 'open the source' })).toBe('aborted: open the source')
})

it('what is supported may be a version, a thing or advice', () => {
  expect(
    messageOf('INCOMPATIBLE', { what: 'the manifest', found: 'version 9', supported: 'version 1' }),
  ).toBe('the manifest: found version 9; supported: version 1')
  const found = "the state of job 'b'"
  expect(messageOf('INCOMPATIBLE', { what: "job 'a'", found, supported: 'its own state' })).toBe(
    "job 'a': found the state of job 'b'; supported: its own state",
  )
})
