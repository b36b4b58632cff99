// One call of the command line, from its arguments to its exit status.

import type { CommanderError } from 'commander'
import { adviceFor } from '../view/advice.js'
import { fileError } from '../view/file-failure.js'
import { UsageError } from '../view/usage-error.js'
import { visible } from '../view/visible.js'
import { ExitStatus } from './outcome.js'
import { Outlet, type Streams } from './outlet.js'
import { programFor } from './program.js'
import { Terminal } from './terminal.js'

interface Surroundings extends Streams {
  readonly env: NodeJS.ProcessEnv
  on(signal: 'SIGINT' | 'SIGTERM', listener: () => void): unknown
  exit(status: number): never
}

/** Carries out what the arguments say. Never rejects but for a bug with `--debug`. */
export async function run(args: readonly string[], process: Surroundings): Promise<number> {
  const interruption = new AbortController()
  let interruptions = 0
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      interruption.abort()
      if (++interruptions > 1) process.exit(ExitStatus.interrupted)
    })
  }
  const outlet = new Outlet(process)
  const options = { json: false, quiet: false, color: false, debug: false }
  let status: number = ExitStatus.ok
  const program = programFor(process, async (given, changes, command) => {
    Object.assign(options, given)
    // As https://no-color.org has it: present, and not empty.
    const isPlain = given.color === false || (process.env['NO_COLOR'] ?? '') !== ''
    // A dumb terminal, such as the shell of an editor, shows the codes for colours and for the cursor as they are.
    const isDumb = process.env['TERM'] === 'dumb'
    const color = process.stdout.isTTY && !isPlain && !isDumb
    const { json, quiet } = options
    const terminal = new Terminal({ json, quiet, color, bars: !isDumb }, process, outlet)
    // What changes something goes on to its end, whoever still listens.
    const signal = changes ? interruption.signal : AbortSignal.any([interruption.signal, outlet.closed])
    try {
      status = await command({ terminal, signal })
    } finally {
      terminal.endProgress()
      // Also where it failed or was interrupted: what it says of, it has done.
      await terminal.flush()
    }
  })
  try {
    await program.parseAsync(args, { from: 'user' }).catch(unlessHelp)
    await outlet.ended()
    if (outlet.failure !== undefined) throw outlet.failure
    return status
  } catch (thrown) {
    // A command that ends because nothing more is taken has not failed by itself.
    const error = inWords(isAborted(thrown) ? (outlet.failure ?? thrown) : thrown)
    if (isCommanderError(error)) return ExitStatus.usage
    if (interruption.signal.aborted) return ExitStatus.interrupted
    if (outlet.closed.aborted && outlet.failure === undefined) return ExitStatus.ok
    if (options.debug) process.stderr.write(`${stackOf(error).split('\n').map(visible).join('\n')}\n`)
    else process.stderr.write(`holdfast: ${visible(await explanation(error))}\n`)
    return await statusOf(error)
  }
}

/** Help and the version that were asked for are errors to the parser, by which it ends. */
function unlessHelp(error: unknown): void {
  if (!isCommanderError(error) || error.exitCode !== 0) throw error
}

/** Also of another copy of the package. */
function isCommanderError(error: unknown): error is CommanderError {
  const { code } = (error ?? {}) as { readonly code?: unknown }
  return typeof code === 'string' && code.startsWith('commander.')
}

const isAborted = (error: unknown): boolean =>
  ((error ?? {}) as { readonly code?: unknown }).code === 'ABORTED'

/** An error of the system that nobody has put into words, by the file that it is of. */
function inWords(error: unknown): unknown {
  const { path } = (error ?? {}) as { readonly path?: unknown }
  return typeof path === 'string' ? fileError(path, error) : error
}

const stackOf = (error: unknown): string =>
  String(typeof error === 'object' && error !== null && 'stack' in error ? error.stack : error)

/** In one line what went wrong, and what to do where that is known. */
async function explanation(error: unknown): Promise<string> {
  if (error instanceof UsageError) return error.message
  const { isStateError } = await import('../index.js')
  if (!isStateError(error)) return `${messageOf(error)} (--debug shows where)`
  const advice = isOfSchema(error) ? RAW_ADVICE : adviceFor(error)
  return advice === undefined ? error.message : `${error.message}; ${advice}`
}

const messageOf = (error: unknown): string =>
  String(typeof error === 'object' && error !== null && 'message' in error ? error.message : error).split(
    '\n',
  )[0] ?? ''

/** Damage that is no damage of a file: the record of typed state, by the name that it has in every error. */
const isOfSchema = ({ code, message }: { readonly code: string; readonly message: string }): boolean =>
  code === 'CORRUPTION' && message.includes('recorded schema')

const RAW_ADVICE = '--show hex shows entries as they are stored, export --raw takes them out'

async function statusOf(error: unknown): Promise<number> {
  if (error instanceof UsageError) return ExitStatus.usage
  const { isStateError } = await import('../index.js')
  if (isStateError(error, 'CORRUPTION')) return ExitStatus.finding
  const isWrongUse = isStateError(error, 'INVALID_ARGUMENT') || isStateError(error, 'SERIALIZATION_FAILED')
  return isWrongUse ? ExitStatus.usage : ExitStatus.failure
}
