// The caller's client, as far as it is used here: what ioredis and node-redis have, told apart by what they have.

import type { Rule } from '../base/options.js'

/** A client of `ioredis` (a `Redis` or a `Cluster`), as far as it is used here. */
export interface IoredisClient {
  call(command: string, ...args: string[]): Promise<unknown>
  duplicate?(): unknown
}

/** A client of `redis` (node-redis), as far as it is used here. It must be connected. */
export interface NodeRedisClient {
  sendCommand(args: string[]): Promise<unknown>
  duplicate?(): unknown
}

/** A Cluster of `redis` 6.1 or later (`createCluster`), as far as it is used here. It must be connected. */
export interface NodeRedisCluster {
  sendCommand(firstKey: string | undefined, isReadonly: boolean, args: string[]): Promise<unknown>
  /** Version 6.1 brought it: by this, a Cluster is known from those that may wait for ever on a server that has died. */
  getNodeClientForKey(key: string): unknown
  duplicate?(): unknown
}

/** The caller's client: TLS, credentials and addresses are its own. It stays the caller's to close. */
export type RedisClient = IoredisClient | NodeRedisClient | NodeRedisCluster

export const redisClient: Rule = (client) => {
  const { call, sendCommand } = (client ?? {}) as Partial<IoredisClient & NodeRedisClient>
  if (typeof call === 'function') return undefined
  if (typeof sendCommand !== 'function') return 'must be a client of ioredis, or of redis (node-redis)'
  const given = client as object
  if ('getMasterNode' in given)
    return 'must be a client of one server or of a Cluster where it is node-redis: for Sentinel, give one of ioredis'
  return 'masters' in given && !('getNodeClientForKey' in given)
    ? 'must be of node-redis 6.1 or later where it is a Cluster of it, or of ioredis: an earlier one may wait for ever on a server that has died'
    : undefined
}

/** Sends a command, its name and its arguments. */
export type SendCommand = (...command: readonly string[]) => Promise<unknown>

export function commandsOf(client: RedisClient): SendCommand {
  // A client of ioredis has a method of the other name as well, which takes something else.
  if ('call' in client) return (name = '', ...args) => client.call(name, ...args)
  if ('getNodeClientForKey' in client)
    return (...command) => client.sendCommand(firstKeyOf(command), false, [...command])
  return (...command) => client.sendCommand([...command])
}

/** The first key of a command, of those that are sent here. */
function firstKeyOf(command: readonly string[]): string | undefined {
  const [name] = command
  if (name === 'EVAL') return command[3]
  if (name === 'XREAD') return command[command.indexOf('STREAMS') + 1]
  return name === 'XINFO' ? command[2] : command[1]
}

/** A connection of our own, for commands that wait on the server: they would hold up those of the caller. */
export interface OwnConnection {
  readonly send: SendCommand
  close(): void
}

/** `undefined` where the client cannot be duplicated. */
export function ownConnection(client: RedisClient): OwnConnection | undefined {
  const duplicate = client.duplicate?.() as Duplicate | undefined
  if (duplicate === undefined) return undefined
  // Failures come as those of commands, too; an event that nobody listens to would end the process.
  duplicate.on?.('error', () => {})
  const isIoredis = 'call' in duplicate && typeof duplicate.call === 'function'
  const commands = commandsOf(duplicate)
  // A duplicate of node-redis is to be connected; one of ioredis connects itself.
  let connecting: Promise<unknown> | undefined
  const send: SendCommand = async (...command) => {
    if (!isIoredis && duplicate.isOpen !== true) {
      connecting ??= (duplicate.connect?.() ?? Promise.resolve()).finally(() => {
        connecting = undefined
      })
      await connecting
    }
    return await commands(...command)
  }
  return { send, close: () => (isIoredis ? duplicate.disconnect?.() : duplicate.destroy?.()) }
}

type Duplicate = RedisClient & {
  readonly isOpen?: boolean
  on?(event: string, listener: () => void): unknown
  connect?(): Promise<unknown>
  disconnect?(): unknown
  destroy?(): unknown
}

/**
 * Answers by which a server says that it is not ready, that it lacks replicas, a disk that works or room for a connection at the moment, or that
 * it is not the right one any more: clients find the right one.
 */
const PASSING_REPLY =
  /^(LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|BUSY|MOVED|ASK|UNBLOCKED|NOREPLICAS|MISCONF|ERR max number of clients reached)\b/
/** How every other answer begins by which a server refuses a command. */
const REPLY = /^-?[A-Z][A-Z0-9]+ /

/** Whether a failed command may succeed later by itself. */
export function mayPass({ message, name }: Error): boolean {
  if (PASSING_REPLY.test(message)) return true
  return name !== 'ReplyError' && name !== 'SimpleError' && !REPLY.test(message)
}

/** An answer that is a list. */
function listOf(answer: unknown): readonly unknown[] {
  return Array.isArray(answer) ? (answer as readonly unknown[]) : []
}

/** One entry of a stream, as commands answer with it. */
export interface StreamEntry {
  /** `milliseconds-number`. */
  readonly id: string
  readonly fields: { readonly [field: string]: string }
}

export function entriesOf(answer: unknown): StreamEntry[] {
  // An entry that is pending and was deleted comes without fields.
  return listOf(answer).map((entry) => {
    const [id, fields] = listOf(entry)
    return { id: String(id), fields: fieldsOf(fields) }
  })
}

function fieldsOf(answer: unknown): { readonly [field: string]: string } {
  const list = listOf(answer)
  const pairs = Array.from({ length: list.length / 2 }, (_, i) => [
    String(list[2 * i]),
    String(list[2 * i + 1]),
  ])
  // Not by assignment: a field may be called `__proto__`.
  return Object.fromEntries(pairs) as { readonly [field: string]: string }
}

const ID = /^(\d{1,20})-(\d{1,20})$/

/** Whether a value is the id of an entry. */
export function isEntryId(value: unknown): value is string {
  return typeof value === 'string' && ID.test(value)
}

/** Less than 0 where the first id comes before the second. */
export function compareIds(left: string, right: string): number {
  const [leftMs = 0n, leftNumber = 0n] = left.split('-').map(BigInt)
  const [rightMs = 0n, rightNumber = 0n] = right.split('-').map(BigInt)
  if (leftMs !== rightMs) return leftMs < rightMs ? -1 : 1
  if (leftNumber === rightNumber) return 0
  return leftNumber < rightNumber ? -1 : 1
}
