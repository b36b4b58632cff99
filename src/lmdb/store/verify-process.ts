// A store is read whole in a process of its own, because a damaged or shortened file can end the process that reads it.
//
// (1) Damage is a report; that the store could not be checked is `STORAGE_ERROR`. A process that cannot be started, ends by
//     itself, is killed from outside or falls silent tells nothing about the store.
// (2) What the process says comes on a channel of its own. It starts without NODE_OPTIONS, whose modules print, wait for a
//     debugger or open ports. Only where it does not run without them is it given them: Yarn's Plug'n'Play finds packages so.
// (3) `process.execPath` need not be Node.js (Electron, packed applications). Whatever it is, it must say its first word soon,
//     and then go on saying something. Only silence counts, not time: a large store on a slow disk takes hours.
// (4) A program that cannot be Node.js is the application itself, with all that it does. A single executable application is not
//     started again; any other one starts no third one from the second.

import { type ChildProcess, spawn } from 'node:child_process'
import { resolve as absolute } from 'node:path'
import { fileURLToPath } from 'node:url'
import { assert } from '../../base/assert.js'
import { type Clock, setPatientTimer, systemClock } from '../../base/clock.js'
import { compiledModule, withoutInputType } from '../../base/compiled.js'
import { reasonOf, StateError, type StateErrorDetails } from '../../base/errors.js'
import type { DataFileReading, VerifyReport } from './verify-store.js'

/** The descriptor that the process speaks on. */
export const VERIFY_CHANNEL = 3

/** In the environment of whoever is started to read a store. */
const STARTED_TO_READ = 'HOLDFAST_STARTED_TO_READ'

/** The first word for a process that is only to ask for LMDB's lock for writers. */
export const LOCK_OPTION = '--lock'

/** One line of it. */
export type VerifyMessage =
  | { readonly kind: 'started' }
  | { readonly kind: 'reading' }
  | (DataFileReading & { readonly kind: 'report' })
  /** It is about to ask for LMDB's lock for writers, … */
  | { readonly kind: 'locking' }
  /** … and could have it. */
  | { readonly kind: 'free' }
  /** It is of another version. */
  | {
      readonly kind: 'incompatible'
      readonly reason: string
      readonly details: StateErrorDetails['INCOMPATIBLE']
    }
  /** `tryAnother`: another process may succeed. */
  | { readonly kind: 'failed'; readonly reason: string; readonly tryAnother: boolean }

/** How long the process may be silent: until its first word, which takes seconds where many processes start, and between words. */
const FIRST_WORD_MS = 30_000
const SILENCE_MS = 60_000
/** What the process said before its end has arrived by then. */
const LAST_WORDS_MS = 1_000
const MAX_STDERR_CHARS = 4_096
/** How many processes try to read it, each of which has another number; see environment.ts (5). */
const TRIES = 5
/** How often a store may be compacted while it is being read. */
const REPLACED_AT_MOST = 5

/** Signals by which a process ends that trips over what it reads; any other one comes from outside. */
const TRIPPED = new Set<unknown>(['SIGBUS', 'SIGSEGV', 'SIGABRT', 'SIGILL', 'SIGFPE', 'SIGTRAP'])
/** From here on the exit codes of Windows mean the same. */
const FIRST_WINDOWS_EXCEPTION = 0xc0000000

/** How a process that was to read a store ended. */
type Ending =
  | (DataFileReading & { readonly kind: 'report' })
  | (VerifyMessage & { readonly kind: 'incompatible' | 'free' })
  /** Another process has LMDB's lock for writers, and does not let go of it. */
  | { readonly kind: 'held' }
  /** It said why it could not, or fell silent. */
  | { readonly kind: 'unchecked'; readonly reason: string; readonly cause?: unknown }
  /** It ended before it had read anything. */
  | { readonly kind: 'ended'; readonly reason: string; readonly tryAnother: boolean }

export interface VerifyOptions {
  /** The directory of the store: its log is checked as well. Default: the data file alone is. */
  readonly directory?: string
  /** Ends the process, and rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Tells how long the process is silent. Default: the machine's. */
  readonly clock?: Clock
  /** How long the process may wait for LMDB's lock for writers. */
  readonly lockMs?: number
}

/** Reads a whole data file in a process of its own. `STORAGE_ERROR` where it could not be checked, `INCOMPATIBLE` for another version. */
export async function verifyDataFile(dataPath: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const { report } = await readDataFile(dataPath, options)
  return report
}

/** As `verifyDataFile`, for whoever asks whether the file has all of its pages. */
export async function readDataFile(dataPath: string, options: VerifyOptions = {}): Promise<DataFileReading> {
  const { directory } = options
  const ending = await runMain(directory === undefined ? [dataPath] : [dataPath, directory], options)
  if (ending.kind === 'report') return ending
  if (ending.kind === 'incompatible') throw new StateError('INCOMPATIBLE', ending.details)
  assert(ending.kind === 'ended' || ending.kind === 'unchecked', 'a process that reads asks for no lock')
  const reason = `${dataPath} could not be checked: ${ending.reason}`
  const cause = ending.kind === 'unchecked' ? ending.cause : undefined
  throw new StateError(
    'STORAGE_ERROR',
    { storage: 'lmdb', operation: 'verify', reason },
    cause === undefined ? undefined : { cause },
  )
}

/**
 * Whether another process has LMDB's lock for writers for longer than `lockMs`: whoever opens the data file for writing then waits for it in a
 * call that nothing ends. False also where that could not be asked.
 */
export async function isLockHeld(dataPath: string, lockMs: number): Promise<boolean> {
  return (await runMain([LOCK_OPTION, dataPath], { lockMs })).kind === 'held'
}

async function runMain(words: readonly string[], options: VerifyOptions): Promise<Ending> {
  const unable = whyNotNode()
  if (unable !== undefined) return { kind: 'unchecked', reason: unable }
  const args = [fileURLToPath(compiledModule('#lmdb/verify-main')), ...words]
  const { NODE_OPTIONS: nodeOptions = '', ...environment } = process.env
  // By this Electron's program runs as the Node.js that is in it.
  if (process.versions['electron'] !== undefined) environment['ELECTRON_RUN_AS_NODE'] = '1'
  environment[STARTED_TO_READ] = '1'
  const run = (env: NodeJS.ProcessEnv) => new VerifyProcess(options).run(args, env)
  let env: NodeJS.ProcessEnv = environment
  let ending = await run(env)
  const remaining = withoutInputType(nodeOptions)
  if (ending.kind === 'ended' && !ending.tryAnother && remaining !== '') {
    env = { ...environment, NODE_OPTIONS: remaining }
    ending = await run(env)
  }
  for (let tries = 1; ending.kind === 'ended' && ending.tryAnother && tries < TRIES; tries++) {
    ending = await run(env)
  }
  return ending
}

/**
 * Reads a store in a directory, with its log. `dataPathNow`: of its data file, which a process that writes may replace by a compacted one while it is
 * being read: then what is beside it does not belong to it any more. `STORAGE_ERROR` where that happens again and again.
 */
export async function verifyStore(
  directory: string,
  dataPathNow: () => string | Promise<string>,
  signal?: AbortSignal,
): Promise<VerifyReport> {
  const options = { directory: absolute(directory), ...(signal !== undefined && { signal }) }
  for (let tries = 1; ; tries++) {
    const dataPath = await dataPathNow()
    const report = await verifyDataFile(dataPath, options)
    if (report.ok || (await dataPathNow()) === dataPath) return report
    if (tries < REPLACED_AT_MOST) continue
    // What was found may be nothing but that.
    const reason = `it was compacted ${tries} times, each time while it was being read`
    throw new StateError('STORAGE_ERROR', { storage: 'lmdb', operation: 'verify', reason })
  }
}

/** The report where nothing could be read. */
export function unreadable(reason: string): VerifyReport {
  return { ok: false, entries: 0, expiring: 0, bytes: 0, problems: [{ what: 'store', reason }] }
}

/** One process that reads a store, from its start to its end. */
class VerifyProcess {
  readonly #signal: AbortSignal | undefined
  readonly #clock: Clock
  readonly #lockMs: number
  #isLocking = false
  #settle: (ending: Ending) => void = () => {}
  #child: ChildProcess | undefined
  #started = false
  #failure: (VerifyMessage & { readonly kind: 'failed' }) | undefined
  #line = ''
  #stderr = ''
  #cancelWait = () => {}

  constructor({ signal, clock = systemClock, lockMs = Infinity }: VerifyOptions) {
    this.#signal = signal
    this.#clock = clock
    this.#lockMs = lockMs
  }

  async run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ending> {
    const signal = this.#signal
    signal?.throwIfAborted()
    let abort = () => {}
    try {
      return await new Promise<Ending>((resolve, reject) => {
        this.#settle = resolve
        abort = () => reject(signal?.reason)
        signal?.addEventListener('abort', abort, { once: true })
        this.#start(args, env)
      })
    } finally {
      signal?.removeEventListener('abort', abort)
      this.#end()
    }
  }

  #start(args: readonly string[], env: NodeJS.ProcessEnv): void {
    const stdio = ['ignore', 'ignore', 'pipe', 'pipe'] as const
    try {
      this.#child = spawn(process.execPath, args, { env, stdio: [...stdio], windowsHide: true })
    } catch (cause) {
      this.#settle({ kind: 'unchecked', reason: whyNotStarted(cause), cause })
      return
    }
    this.#child.on('error', (cause) =>
      this.#settle({ kind: 'unchecked', reason: whyNotStarted(cause), cause }),
    )
    // Out of descriptors, Node.js makes no streams either: the error that is on its way says so.
    if (this.#child.pid === undefined) return
    const [, , stderr, channel] = this.#child.stdio
    this.#child.on('exit', (code, killedBy) => this.#exited(code, killedBy))
    stderr?.on('error', () => {}).on('data', (chunk) => this.#hearStderr(String(chunk)))
    channel?.on('error', () => {}).on('data', (chunk) => this.#hear(String(chunk)))
    this.#awaitWord()
  }

  #hearStderr(text: string): void {
    if (this.#stderr.length < MAX_STDERR_CHARS) this.#stderr += text
  }

  #hear(text: string): void {
    const lines = (this.#line + text).split('\n')
    this.#line = lines.pop() ?? ''
    for (const line of lines) this.#handle(line)
    this.#awaitWord()
  }

  #handle(line: string): void {
    let message: VerifyMessage
    try {
      message = JSON.parse(line) as VerifyMessage
    } catch {
      this.#settle({
        kind: 'unchecked',
        reason: `${process.execPath} said something else: ${line.slice(0, 100)}`,
      })
      return
    }
    this.#started = true
    this.#isLocking = message.kind === 'locking'
    if (message.kind === 'report' || message.kind === 'incompatible' || message.kind === 'free')
      this.#settle(message)
    if (message.kind === 'failed') this.#failure = message
  }

  /** Waits for the next word, in parts: time in which this thread was held, and could hear nothing, counts as one of them. */
  #awaitWord(): void {
    this.#cancelWait()
    if (this.#isLocking) {
      this.#cancelWait = setPatientTimer(this.#clock, () => this.#settle({ kind: 'held' }), this.#lockMs)
      return
    }
    const limitMs = this.#started ? SILENCE_MS : FIRST_WORD_MS
    let leftParts = 8
    const wait = () => {
      this.#cancelWait = this.#clock.setTimer(() => {
        leftParts--
        if (leftParts > 0) wait()
        else this.#settle({ kind: 'unchecked', reason: this.#silence(limitMs) })
      }, limitMs / 8)
    }
    wait()
  }

  #silence(limitMs: number): string {
    const seconds = limitMs / 1_000
    return this.#started
      ? `nothing was heard of the reading process for ${seconds} s`
      : `${process.execPath} did not run as Node.js within ${seconds} s`
  }

  #exited(code: number | null, killedBy: NodeJS.Signals | null): void {
    const settle = () => this.#settle(this.#endingOf(code, killedBy))
    this.#cancelWait()
    // Held for so long, this thread hears what has arrived first.
    this.#cancelWait = setPatientTimer(this.#clock, settle, LAST_WORDS_MS)
    const channel = this.#child?.stdio[VERIFY_CHANNEL]
    if (channel?.closed ?? true) settle()
    else channel?.once('close', settle)
  }

  #endingOf(code: number | null, killedBy: NodeJS.Signals | null): Ending {
    const [firstLine = ''] = this.#stderr.trim().split('\n')
    const end = killedBy ?? `exit code ${code}`
    const text = `reading it ended with ${end}${firstLine === '' ? '' : `: ${firstLine}`}`
    const tripped = TRIPPED.has(killedBy) || (code !== null && code >= FIRST_WINDOWS_EXCEPTION)
    if (this.#started && tripped && !/out of memory/i.test(this.#stderr)) {
      return { kind: 'report', report: unreadable(text), foundAll: false }
    }
    if (this.#failure !== undefined) {
      const { reason, tryAnother } = this.#failure
      return { kind: 'ended', reason, tryAnother }
    }
    return {
      kind: 'ended',
      tryAnother: false,
      reason: this.#started ? text : `${process.execPath} did not run as Node.js: ${text}`,
    }
  }

  /** Nothing of it is left, whatever it is and whatever it has started itself. */
  #end(): void {
    this.#cancelWait()
    const child = this.#child
    if (child === undefined) return
    // Of one that was not started, `kill` takes the number for 0, which is the whole group that this process is in.
    const isStarted = child.pid !== undefined
    if (isStarted && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    for (const stream of child.stdio ?? []) stream?.destroy()
    child.unref()
  }
}

/** Why the program of this process is known not to run as Node.js. */
function whyNotNode(): string | undefined {
  const isSingleExecutable = process.getBuiltinModule('node:sea')?.isSea() ?? false
  if (isSingleExecutable)
    return `${process.execPath} is a single executable application, which runs as nothing else`
  // What reads stores asks for no process: so this is a program that was started for that, and runs as itself.
  if (process.env[STARTED_TO_READ] !== undefined)
    return `${process.execPath} was started to read a store, and did not run as Node.js`
  return undefined
}

function whyNotStarted(cause: unknown): string {
  const code = (cause as { readonly code?: unknown } | null)?.code
  if (code === 'ERR_ACCESS_DENIED')
    return 'Node.js was told to forbid processes; allow them with --allow-child-process'
  return `${process.execPath} cannot be started: ${reasonOf(cause)}`
}
