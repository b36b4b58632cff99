import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { InputError } from './input-error.js'
import type { PlannedKill } from './kill-plan.js'
import type { RunResult, StartedMessage, WorkerMessage, WorkerTask } from './protocol.js'

const WORKER = fileURLToPath(new URL('./worker.js', import.meta.url))

/** A worker could not do its work; the message is one line. */
export class WorkerFailure extends Error {
  override readonly name = 'WorkerFailure'
}

/** How a worker ended. */
interface WorkerRun {
  readonly started: StartedMessage
  /** Requests it had reported when it ended; after a kill it may have taken a few more. */
  readonly events: number
  /** Checkpoints it reported. */
  readonly checkpoints: number
  /** Absent where it was killed. */
  readonly result: RunResult | undefined
}

interface RunOptions {
  readonly kill?: PlannedKill
  readonly signal: AbortSignal
  onMessage(message: WorkerMessage): void
}

/**
 * Runs a worker process to its end, or kills it when the plan says so: once it has published a checkpoint and reported
 * enough requests. An `InputError` of the worker is thrown here; so is the signal's reason, when the process has ended.
 */
export async function runWorker(task: WorkerTask, options: RunOptions): Promise<WorkerRun> {
  const { kill, signal, onMessage } = options
  signal.throwIfAborted()
  // The worker's output, should there be any, must not get into the parent's document.
  const child = fork(WORKER, [JSON.stringify(task)], { stdio: ['ignore', 2, 2, 'ipc'] })
  const end = () => child.kill('SIGKILL')
  signal.addEventListener('abort', end)

  let started: StartedMessage = { type: 'started' }
  let events = 0
  let checkpoints = 0
  let result: RunResult | undefined
  let failure: Error | undefined
  let killTimer: NodeJS.Timeout | undefined
  child.on('message', (message: WorkerMessage) => {
    onMessage(message)
    if (message.type === 'started') started = message
    if (message.type === 'progress') events = message.events
    if (message.type === 'checkpoint') checkpoints++
    if (message.type === 'done') result = message.result
    if (message.type === 'failed')
      failure = message.usage ? new InputError(message.message) : new WorkerFailure(message.message)
    if (result !== undefined) clearTimeout(killTimer)
    else if (kill !== undefined && killTimer === undefined && checkpoints > 0 && events >= kill.atEvents) {
      killTimer = setTimeout(end, kill.delayMs)
    }
  })
  // What was sent before the end is still delivered after it: the channel closes last.
  const [exit] = await Promise.all([ended(child), disconnected(child)])
  clearTimeout(killTimer)
  signal.removeEventListener('abort', end)
  signal.throwIfAborted()
  if (failure !== undefined) throw failure
  const killed = killTimer !== undefined && exit.signal === 'SIGKILL'
  if (result === undefined && !killed) {
    throw new WorkerFailure(`the worker ended unexpectedly (${exit.signal ?? `exit status ${exit.code}`})`)
  }
  return { started, events, checkpoints, result }
}

interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

type Child = ReturnType<typeof fork>

function ended(child: Child): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, signal) => resolve({ code, signal }))
  })
}

function disconnected(child: Child): Promise<void> {
  return new Promise((resolve) => child.on('disconnect', resolve))
}
