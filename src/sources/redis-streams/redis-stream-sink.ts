// Outputs as entries of a Redis stream, exactly once: a script writes them together with the note of how far it has come.
//
//   the note is a hash:   owner          -> a random id: who has taken the sink over last
//                         :LINEAGE       -> 'EPOCH OUTPUTS ID', the newest epoch, how many of its outputs were written, and a random id of the run that has prepared it

import { StateError } from '../../base/errors.js'
import {
  nonEmptyText,
  oneOf,
  rejectViolations,
  requireSettings,
  rules,
  violationsOf,
} from '../../base/options.js'
import type { OutboxBatch } from '../../job/sink/outbox-writer.js'
import type { Sink } from '../../job/sink/sink.js'
import { Outage, type OutageOptions, outageOf, outageRules } from '../../remote/outage.js'
import {
  commandsOf,
  mayPass,
  type RedisClient,
  redisClient,
  type SendCommand,
} from '../../remote/redis-client.js'
import {
  type Ledger,
  type LedgerSinkOptions,
  type LostOutputs,
  ledgerSink,
  type NotedEpoch,
} from '../shared/ledger-sink.js'
import { takeOver } from '../shared/take-over.js'
import { hasHashTag, hashTagOf } from './hash-tag.js'

// KEYS: the note. ARGV: owner, whom it is taken from ('': nobody). Answers 1 where it is taken, also where that was done before.
const TAKE = `
local owner = redis.call('HGET', KEYS[1], 'owner') or ''
if owner == ARGV[1] then return 1 end
if owner ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
return 1
`

// KEYS: the note, the stream. ARGV: owner, lineage, epoch, index of the first output, how many are kept (or ''),
// 'strict' or 'loose' (goes on where outputs were lost), who has prepared the epoch (' ID', or ''), then of each output: the number of its fields and values, and these.
// Its effects reach replicas and the file of appended commands as one transaction.
const APPEND = `
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner ~= ARGV[1] then return {'FENCED', owner or ''} end
local field = ':' .. ARGV[2]
local noted = redis.call('HGET', KEYS[1], field)
local epoch, done = -1, 0
if noted then
  local e, d = string.match(noted, '^(%d+) (%d+)')
  epoch, done = tonumber(e), tonumber(d)
end
local wanted, index = tonumber(ARGV[3]), tonumber(ARGV[4])
if epoch > wanted then return {'DONE'} end
local isLost = false
if epoch < wanted then
  isLost = epoch < wanted - 1 or index > 0
  done = 0
else
  isLost = index > done
end
if isLost and ARGV[6] == 'strict' then return {'LOST', noted or ''} end
local at = 8
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  if index >= done then
    local entry = {}
    for i = 1, count do entry[i] = ARGV[at + i] end
    if ARGV[5] == '' then
      redis.call('XADD', KEYS[2], '*', unpack(entry))
    else
      redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[5], '*', unpack(entry))
    end
  end
  index = index + 1
  at = at + count + 1
end
redis.call('HSET', KEYS[1], field, wanted .. ' ' .. math.max(index, done) .. ARGV[7])
return {'DONE'}
`

export interface RedisStreamSinkOptions<Output> extends OutageOptions, LedgerSinkOptions {
  /** Of `ioredis` or `redis`. */
  readonly client: RedisClient
  /** The key of the stream. */
  readonly stream: string
  /** Names the sink beside others that write to the same stream: one job at a time has it. Default `'holdfast'`. */
  readonly name?: string
  /** The fields of an entry. Default: `{ json: JSON.stringify(output) }`. */
  readonly fields?: (output: Output) => { readonly [field: string]: string }
  /** About how many entries are kept (`XADD MAXLEN ~`). Default: all. */
  readonly maxEntries?: number
}

/**
 * Outputs as entries of a Redis (or Valkey) stream, each exactly once, in order, after the checkpoint that has them. Outputs must be JSON; they lie
 * in the state of the job until then. After going back to an older checkpoint, entries that were written since stay in the stream.
 * A server that loses what it has acknowledged loses entries and note alike: `RESTORE_FAILED` tells of it.
 *
 * @example redisStreamSink<Alert>({ client, stream: 'alerts' })
 */
export function redisStreamSink<Output>(options: RedisStreamSinkOptions<Output>): Sink<Output> {
  rejectViolations(
    violationsOf(options, {
      ...outageRules,
      client: redisClient,
      stream: (value) => nonEmptyText(value) ?? hasHashTag(value),
      name: nonEmptyText,
      fields: rules.function,
      maxEntries: rules.positiveInteger,
      maxOutputs: rules.positiveInteger,
      onLostOutputs: oneOf('fail', 'continue'),
    }),
  )
  requireSettings(options, ['client', 'stream'])
  return ledgerSink(`Redis stream ${options.stream}`, () => new StreamLedger(options), options)
}

function notedIn(note = ''): NotedEpoch | undefined {
  const [number, outputs, preparedBy] = note.split(' ')
  return number === undefined || outputs === undefined
    ? undefined
    : { number: Number(number), outputs: Number(outputs), preparedBy }
}

class StreamLedger<Output> implements Ledger<Output> {
  readonly place: string
  readonly #options: RedisStreamSinkOptions<Output>
  readonly #send: SendCommand
  readonly #outage: Outage
  readonly #note: string

  constructor(options: RedisStreamSinkOptions<Output>) {
    const { client, stream, name = 'holdfast' } = options
    this.place = `Redis stream ${stream}`
    this.#options = options
    this.#send = commandsOf(client)
    // In the slot of the stream.
    this.#note = `{${hashTagOf(stream)}}:sink:${stream}:${name}`
    this.#outage = new Outage({
      storage: this.place,
      passes: mayPass,
      ...outageOf(options),
    })
  }

  async claim(owner: string, checkOwner: (() => Promise<void>) | undefined): Promise<void> {
    const ask = (...command: string[]) => this.#outage.answerOf('claim', () => this.#send(...command))
    await takeOver(
      {
        read: async () => String((await ask('HGET', this.#note, 'owner')) ?? ''),
        take: async (from) => Number(await ask('EVAL', TAKE, '1', this.#note, owner, from)) === 1,
      },
      checkOwner,
    )
  }

  async append(
    { epoch, first, outputs, preparedBy }: OutboxBatch<Output>,
    owner: string,
    acceptsLoss: boolean,
  ): Promise<LostOutputs | undefined> {
    const { stream, maxEntries } = this.#options
    const kept = maxEntries === undefined ? '' : String(maxEntries)
    const entries = outputs.flatMap((output) => this.#entryOf(output))
    const place = [epoch.lineage, String(epoch.number), String(first)]
    const by = preparedBy === undefined ? '' : ` ${preparedBy}`
    const settings = [kept, acceptsLoss ? 'loose' : 'strict', by]
    const command = ['EVAL', APPEND, '2', this.#note, stream, owner, ...place, ...settings, ...entries]
    const answer = await this.#outage.answerOf('append', () => this.#send(...command))
    const [outcome, found] = (answer as readonly unknown[]).map(String)
    if (outcome === 'FENCED')
      throw new StateError('FENCED', { resource: this.place, owner: found || 'nobody: its note is gone' })
    if (outcome !== 'LOST') return undefined
    return { noted: notedIn(found) }
  }

  async noted(lineage: string): Promise<NotedEpoch | undefined> {
    const note = await this.#outage.answerOf('claim', () => this.#send('HGET', this.#note, `:${lineage}`))
    return notedIn(String(note ?? ''))
  }

  async close(): Promise<void> {
    this.#outage.close()
  }

  #entryOf(output: Output): string[] {
    const { fields } = this.#options
    const entry = Object.entries(fields?.(output) ?? { json: JSON.stringify(output) }).flat()
    if (entry.length > 0 && entry.every((value) => typeof value === 'string'))
      return [String(entry.length), ...entry]
    const reason = 'its fields must be text, one or more'
    throw new StateError('SERIALIZATION_FAILED', { what: 'an output', reason })
  }
}
