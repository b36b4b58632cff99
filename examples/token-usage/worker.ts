// The process that is killed: it runs the job and tells its parent how far it is.

import { isStateError } from 'holdfast'
import { InputError } from './input-error.js'
import type { WorkerMessage, WorkerTask } from './protocol.js'
import { runTask } from './run-task.js'

// Ctrl-C reaches the whole process group. The parent ends this process; without a parent there is no point in going on.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit(1))

const tell = (message: WorkerMessage) => {
  process.send?.(message)
}

let last: WorkerMessage
try {
  const task = JSON.parse(process.argv[2] ?? '') as WorkerTask
  last = { type: 'done', result: await runTask(task, tell) }
} catch (error) {
  // A job that has failed says why.
  const reason = isStateError(error, 'JOB_FAILED') ? (error.cause ?? error) : error
  if (!(reason instanceof InputError) && !isStateError(error)) throw error
  last = {
    type: 'failed',
    message: (reason instanceof InputError ? reason : (error as Error)).message,
    usage: reason instanceof InputError,
  }
  process.exitCode = 1
}
// The channel keeps this process alive until it is closed, and must not be closed before the last message is through.
await new Promise((resolve) => process.send?.(last, resolve))
process.removeAllListeners('disconnect')
process.disconnect?.()
