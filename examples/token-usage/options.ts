import { randomInt } from 'node:crypto'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type BackendName, backendNames } from './backend-names.js'
import type { ExperimentOptions } from './experiment.js'
import type { FileFormat } from './file-source.js'
import type { ColumnNames } from './input/columns.js'
import { InputError } from './input-error.js'
import { addressOf, type ServerName, type ServerPlace, serverNames } from './servers.js'
import type { SourceSpec } from './source.js'

const DEFAULT_EVENTS = 300_000
const DEFAULT_SEED = 1
const LARGEST_SEED = 2 ** 31 - 1

interface Settings extends ExperimentOptions {
  readonly json: boolean
  /** Where to keep the checkpoints; absent: in a directory that is removed at the end. */
  readonly dir?: string
}

interface Flags extends ColumnNames {
  events?: number
  seed?: number
  input?: string
  format?: FileFormat
  delimiter?: string
  skipBadLines?: true
  kills: number
  seedKill?: number
  pace: number
  checkpointEvery?: number
  disorder?: number
  source?: ServerName
  address?: string
  backend: BackendName
  dir?: string
  json?: true
}

const columnFlags = ['time', 'model', 'tenant', 'tokensIn', 'tokensOut', 'cost', 'latency'] as const
const fileFlags = [...columnFlags, 'format', 'delimiter', 'skipBadLines', 'disorder'] as const

/** Reads the command line. Prints help and throws `CommanderError` as commander does, with its messages on one line. */
export function readSettings(args: readonly string[]): Settings {
  const flags = command().parse(args, { from: 'user' }).opts<Flags>()
  const { kills, pace: paceSeconds, checkpointEvery: checkpointEveryMs, backend, dir, json = false } = flags
  const server = serverOf(flags)
  return {
    source: sourceOf(flags),
    ...(server !== undefined && { server }),
    backend,
    kills,
    seedKill: flags.seedKill ?? randomInt(LARGEST_SEED),
    paceSeconds,
    ...(checkpointEveryMs !== undefined && { checkpointEveryMs }),
    ...(dir !== undefined && { dir }),
    json,
  }
}

function command(): Command {
  return new Command('token-usage')
    .description(
      'Adds up the token usage of LLM requests in one-minute windows: once without interruption, and once killed with ' +
        'SIGKILL and started again from its last checkpoint. Exit status: 0 if both have put out the same, 1 if not, ' +
        '2 if the input or an option is wrong.',
    )
    .option('--events <number>', `generate so many requests (default: ${DEFAULT_EVENTS})`, positiveInteger)
    .option('--seed <number>', `which requests are generated (default: ${DEFAULT_SEED})`, seed)
    .addOption(
      new Option('--input <file>', 'read requests from a CSV or NDJSON file').conflicts(['events', 'seed']),
    )
    .option(
      '--time <column>',
      'column with the time: epoch seconds or milliseconds, or ISO 8601 (default: timestampMs)',
    )
    .option('--model <column>', 'column with the model (default: model, if there is one)')
    .option('--tenant <column>', 'column with the tenant (default: tenant, if there is one)')
    .option(
      '--tokens-in <column>',
      'column with the tokens of the prompt (default: tokensIn, if there is one)',
    )
    .option(
      '--tokens-out <column>',
      'column with the tokens of the answer (default: tokensOut, if there is one)',
    )
    .option('--cost <column>', 'column with the cost in US dollars (default: costUsd, or else a price table)')
    .option(
      '--latency <column>',
      'column with the latency in milliseconds (default: latencyMs, if there is one)',
    )
    .addOption(
      new Option('--format <name>', 'format of the file (default: found out)').choices(['csv', 'ndjson']),
    )
    .option('--delimiter <character>', 'what separates the cells of a CSV file (default: a comma)', delimiter)
    .option('--skip-bad-lines', 'count broken lines and go on')
    .option(
      '--disorder <seconds>',
      'how much later than others a request of the file may come; windows close by it (default: at the end of the file)',
      seconds,
    )
    .addOption(
      new Option(
        '--source <name>',
        'put the requests on a server of yours first, into a topic or stream that is removed at the end, and read them from there',
      ).choices(serverNames),
    )
    .option(
      '--address <address>',
      'where that server is: host:port, or a URL (default: its usual port on this machine)',
    )
    .option('--kills <number>', 'how often to kill the second run', positiveInteger, 1)
    .option('--seed-kill <number>', 'draws the moments of the kills (default: another one every time)', seed)
    .option(
      '--pace <seconds>',
      'spread the second run over so many seconds; 0: as fast as it goes',
      seconds,
      6,
    )
    .option(
      '--checkpoint-every <milliseconds>',
      'time from one checkpoint to the next (default: a twenty-fifth of the pace)',
      positiveInteger,
    )
    .addOption(new Option('--backend <name>', 'engine for the state').choices(backendNames).default('memory'))
    .option('--dir <directory>', 'keep the checkpoints there; a new or empty directory')
    .option('--json', 'print one JSON document and nothing else')
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      outputError: (message, write) => write(`${message.trim().replace(/\s*\n\s*/g, ' ')} (see --help)\n`),
    })
}

function sourceOf(flags: Flags): SourceSpec {
  const { input: path, format, delimiter, skipBadLines, disorder } = flags
  if (path === undefined) {
    const alien = fileFlags.find((name) => flags[name] !== undefined)
    if (alien !== undefined) throw new InputError(`--${kebab(alien)} is for files; name one with --input`)
    return { kind: 'generator', seed: flags.seed ?? DEFAULT_SEED, events: flags.events ?? DEFAULT_EVENTS }
  }
  const named = columnFlags
    .map((name) => [name, flags[name]] as const)
    .filter(([, column]) => column !== undefined)
  return {
    kind: 'file',
    path,
    columns: Object.fromEntries(named) as ColumnNames,
    ...(format !== undefined && { format }),
    ...(delimiter !== undefined && { delimiter }),
    ...(skipBadLines !== undefined && { skipBadLines }),
    ...(disorder !== undefined && { disorderMs: Math.round(disorder * 1_000) }),
  }
}

function serverOf({ source: server, address }: Flags): Omit<ServerPlace, 'stream'> | undefined {
  if (server !== undefined) return { server, address: addressOf(server, address) }
  if (address !== undefined) throw new InputError('--address is for servers; name one with --source')
  return undefined
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function positiveInteger(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(number) || number < 1) {
    throw new InvalidArgumentError('It must be a positive whole number.')
  }
  return number
}

function seed(text: string): number {
  const number = Number(text)
  if (!/^\d+$/.test(text) || number > LARGEST_SEED) {
    throw new InvalidArgumentError(`It must be a whole number from 0 to ${LARGEST_SEED}.`)
  }
  return number
}

function seconds(text: string): number {
  const number = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || number > 3_600) {
    throw new InvalidArgumentError('It must be a number of seconds from 0 to 3600.')
  }
  return number
}

function delimiter(text: string): string {
  const character = text === '\\t' ? '\t' : text
  if (character.length !== 1 || '"\r\n'.includes(character)) {
    throw new InvalidArgumentError('It must be one character (\\t for a tab) and no quote.')
  }
  return character
}
