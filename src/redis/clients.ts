// What clients for bytes have in common: commands one by one, and some one behind the other over one connection.

import { type PrepareRead, readsByIoredis } from './ioredis-reads.js'

type Arguments = (string | Buffer)[]

export type Command = readonly (string | Buffer)[]

/** A client of `ioredis` (a `Redis`, with Sentinel or without, or a `Cluster`), as far as it is used here. */
export interface IoredisBytesClient {
  /** A list, and not arguments one by one: a call may have some 100,000 of these. */
  callBuffer(command: string, args: Arguments): Promise<unknown>
  pipeline(): IoredisPipeline
}

interface IoredisPipeline {
  callBuffer(command: string, args: Arguments): unknown
  exec(): Promise<[error: Error | null, answer: unknown][] | null>
}

/** A client of `redis` (node-redis) for one server, as far as it is used here, and connected. */
export interface NodeRedisBytesClient {
  readonly isOpen: boolean
  sendCommand(args: Arguments, options?: object): Promise<unknown>
}

/** A client of `redis` that follows sentinels (`createSentinel`), as far as it is used here, and connected. */
export interface NodeRedisBytesSentinel {
  readonly isOpen: boolean
  getMasterNode(): unknown
  sendCommand(isReadonly: boolean, args: Arguments, options?: object): Promise<unknown>
  multi(): NodeRedisSentinelPipeline
}

interface NodeRedisSentinelPipeline {
  addCommand(isReadonly: boolean, args: Arguments): unknown
  execAsPipeline(): Promise<readonly unknown[]>
}

/** A Cluster of `redis` 6.1 or later (`createCluster`), as far as it is used here, and connected. */
export interface NodeRedisBytesCluster {
  readonly isOpen: boolean
  sendCommand(
    firstKey: string | undefined,
    isReadonly: boolean,
    args: Arguments,
    options?: object,
  ): Promise<unknown>
  /** Version 6.1 brought it: by this, a Cluster is known from those that may wait for ever on a server that has died. */
  getNodeClientForKey(key: string): Promise<NodeRedisBytesClient>
}

/** The caller's client: TLS, credentials and addresses are its own. It stays the caller's to close. */
export type RedisBackendClient =
  | IoredisBytesClient
  | NodeRedisBytesClient
  | NodeRedisBytesSentinel
  | NodeRedisBytesCluster

/** How commands go by one of these clients. */
export interface CommandSender {
  /** The answer, with its texts as bytes. */
  one(command: Command): Promise<unknown>
  /** Answers of commands that go over one connection without anything of ours between them; their keys are in one slot. */
  together(commands: readonly Command[]): Promise<unknown[]>
  /** Whether answers of `together` have their texts as bytes. */
  readonly givesBytesTogether: boolean
  /** Puts a read together itself, where the client lets it. */
  readonly prepareRead?: PrepareRead | undefined
}

export function backendClient(client: unknown): string | undefined {
  const given = (client ?? {}) as Partial<IoredisBytesClient & NodeRedisBytesClient>
  if (typeof given.callBuffer === 'function' && typeof given.pipeline === 'function') return undefined
  if (typeof given.sendCommand === 'function' && typeof given.isOpen === 'boolean') {
    return 'masters' in given && !('getNodeClientForKey' in given)
      ? 'must be of node-redis 6.1 or later where it is a Cluster of it, or of ioredis: an earlier one may wait for ever on a server that has died'
      : undefined
  }
  return 'must be a client of ioredis, or of redis (node-redis)'
}

export function senderOf(client: RedisBackendClient): CommandSender {
  if ('callBuffer' in client) return byIoredis(client)
  if ('getNodeClientForKey' in client) return byNodeRedisCluster(client)
  return 'getMasterNode' in client ? byNodeRedisSentinel(client) : byNodeRedis(client)
}

/** How node-redis is asked for the bytes of texts. */
const AS_BYTES = { typeMapping: { 36: Buffer } }

function byIoredis(client: IoredisBytesClient): CommandSender {
  const singly = ungathered(client)
  return {
    one: ([name = '', ...args]) => singly.callBuffer(String(name), args),
    together: async (commands) => {
      const pipeline = client.pipeline()
      for (const [name = '', ...args] of commands) pipeline.callBuffer(String(name), args)
      const answers = (await pipeline.exec()) ?? []
      return answers.map(([error, answer]) => {
        if (error !== null) throw error
        return answer
      })
    },
    givesBytesTogether: true,
    prepareRead: readsByIoredis(singly),
  }
}

/**
 * With `enableAutoPipelining`, ioredis gathers commands, and loses the names of those by `callBuffer`: that throws where nobody can catch it (seen with 5.11 and 6.0). Commands of this go
 * to the same client, one by one.
 */
function ungathered(client: IoredisBytesClient): IoredisBytesClient {
  const { options, sendCommand } = client as GatheringClient
  if (options?.enableAutoPipelining !== true || sendCommand === undefined) return client
  return Object.create(client, {
    options: { value: { ...options, enableAutoPipelining: false } },
    sendCommand: { value: sendCommand.bind(client) },
  }) as IoredisBytesClient
}

interface GatheringClient extends IoredisBytesClient {
  readonly options?: { readonly enableAutoPipelining?: boolean }
  sendCommand?(...args: unknown[]): unknown
}

function byNodeRedis(client: NodeRedisBytesClient): CommandSender {
  const one = (command: Command) => client.sendCommand([...command], AS_BYTES)
  return { one, together: (commands) => Promise.all(commands.map(one)), givesBytesTogether: true }
}

/** Its pipelines answer as the connections of the servers are set up: with texts. */
function byNodeRedisSentinel(client: NodeRedisBytesSentinel): CommandSender {
  return {
    one: (command) => client.sendCommand(false, [...command], AS_BYTES),
    together: async (commands) => {
      const pipeline = client.multi()
      // One by one, each might be sent again by the client, and then in another order.
      for (const command of commands) pipeline.addCommand(false, [...command])
      return [...(await pipeline.execAsPipeline())]
    },
    givesBytesTogether: false,
  }
}

function byNodeRedisCluster(client: NodeRedisBytesCluster): CommandSender {
  return {
    one: (command) => client.sendCommand(firstKeyOf(command), false, [...command], AS_BYTES),
    together: async (commands) => {
      // The Cluster would send each to where its own key lies, and one without a key anywhere.
      const node = await client.getNodeClientForKey(firstKeyOf(commands[0] ?? []))
      return await byNodeRedis(node).together(commands)
    },
    givesBytesTogether: true,
  }
}

/** The first key of a command: a script has its digest and a count before it. */
function firstKeyOf(command: Command): string {
  const [name] = command
  return String(command[name === 'EVALSHA' || name === 'EVAL' ? 3 : 1])
}
