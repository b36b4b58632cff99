import { randomInt } from 'node:crypto'
import { Command, InvalidArgumentError, Option } from 'commander'
import { type BackendName, backendNames } from './backend-names.js'
import type { ExperimentOptions } from './experiment.js'
import type { FileFormat } from './file-source.js'
import type { ColumnNames } from './input/columns.js'
import { InputError } from './input-error.js'
import { type BucketPlace, isStateServer, stateAddress } from './keepers.js'
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
  backendAddress?: string
  storage?: BucketPlace
  endpoint?: string
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
  const storage = storageOf(flags)
  const backendAddress = backendAddressOf(flags)
  return {
    source: sourceOf(flags),
    ...(server !== undefined && { server }),
    backend,
    ...(backendAddress !== undefined && { backendAddress }),
    ...(storage !== undefined && { storage }),
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
    .option(
      '--backend-address <address>',
      'where the server of that engine is: host:port, or a URL (default: its usual port on this machine)',
    )
    .option('--storage <url>', 'put the checkpoints there: s3://BUCKET or s3://BUCKET/PREFIX', bucketPlace)
    .option('--endpoint <url>', 'where that S3 is (default: AWS); credentials are those of the environment')
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

function storageOf({ storage, endpoint, backend }: Flags): BucketPlace | undefined {
  if (storage === undefined) {
    if (endpoint !== undefined) throw new InputError('--endpoint is for S3; name a place with --storage')
    return undefined
  }
  if (backend !== 'memory')
    throw new InputError(`--storage is for checkpoints; ${backend} keeps its state itself`)
  if (endpoint === undefined) return storage
  const { protocol, username, password } = URL.canParse(endpoint) ? new URL(endpoint) : new URL('none:')
  if (!/^https?:$/.test(protocol) || username !== '' || password !== '')
    throw new InputError('--endpoint must be an http or https URL without credentials')
  return { ...storage, endpoint }
}

function backendAddressOf({ backend, backendAddress }: Flags): string | undefined {
  if (backendAddress === undefined) return undefined
  if (!isStateServer(backend)) throw new InputError('--backend-address is for --backend redis and postgres')
  const address = stateAddress(backend, backendAddress)
  if (!URL.canParse(address) || new URL(address).hostname === '')
    throw new InputError(
      `--backend-address must be HOST:PORT or a URL of ${backend}, with a port below 65536`,
    )
  return address
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

function bucketPlace(text: string): BucketPlace {
  const [, bucket, prefix = ''] =
    /^s3:\/\/([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:\/(.*?))?\/?$/.exec(text) ?? []
  if (bucket === undefined) throw new InvalidArgumentError('It must be s3://BUCKET or s3://BUCKET/PREFIX.')
  return { bucket, prefix }
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
