// The caller's client for bytes: commands that belong together go over one connection, one behind the other.

import { assert } from '../base/assert.js'
import { isErrorLike } from '../base/shapes.js'
import type { Script } from './scripts.js'

/** A client of `ioredis` (a `Redis`, with Sentinel or without, or a `Cluster`), as far as it is used here. */
export interface IoredisBytesClient {
  /** A list, and not arguments one by one: a call may have some 100,000 of these. */
  callBuffer(command: string, args: (string | Buffer)[]): Promise<unknown>
  pipeline(): IoredisPipeline
}

interface IoredisPipeline {
  callBuffer(command: string, args: (string | Buffer)[]): unknown
  exec(): Promise<[error: Error | null, answer: unknown][] | null>
}

/** A client of `redis` (node-redis), as far as it is used here: one of one server, and connected. */
export interface NodeRedisBytesClient {
  readonly isOpen: boolean
  sendCommand(args: (string | Buffer)[], options?: object): Promise<unknown>
}

/** The caller's client: TLS, credentials and addresses are its own. It stays the caller's to close. */
export type RedisBackendClient = IoredisBytesClient | NodeRedisBytesClient

export type Command = readonly (string | Buffer)[]

/**
 * Copies of bytes as arguments: as texts where all are ASCII, which clients send in a fraction of the time that they take for bytes.
 */
export function fieldsOf(all: readonly Uint8Array[]): (string | Buffer)[] {
  let length = 0
  for (const each of all) length += each.length
  const joined = Buffer.allocUnsafe(length)
  let end = 0
  for (const each of all) {
    joined.set(each, end)
    end += each.length
  }
  let bits = 0
  for (let at = 0; at < length; at++) bits |= joined[at] as number
  let start = 0
  if (bits < 0x80) {
    const text = joined.toString('latin1')
    return all.map((each) => text.slice(start, (start += each.length)))
  }
  return all.map((each) => joined.subarray(start, (start += each.length)))
}

/** How node-redis is asked for the bytes of texts. */
const AS_BYTES = { typeMapping: { 36: Buffer } }
const NO_SCRIPT = /^NOSCRIPT/
const MOVED = /^(MOVED|ASK)\b/

export function backendClient(client: unknown): string | undefined {
  const given = (client ?? {}) as Partial<IoredisBytesClient & NodeRedisBytesClient>
  if (typeof given.callBuffer === 'function' && typeof given.pipeline === 'function') return undefined
  if (typeof given.sendCommand === 'function' && typeof given.isOpen === 'boolean') {
    return 'masters' in given || 'getMasterNode' in given
      ? 'must be a client of one server where it is node-redis: for Cluster and Sentinel, give one of ioredis'
      : undefined
  }
  return 'must be a client of ioredis, or of redis (node-redis)'
}

export class Connection {
  readonly #client: RedisBackendClient

  constructor(client: RedisBackendClient) {
    this.#client = client
  }

  async command(command: Command): Promise<unknown> {
    const [name = '', ...args] = command
    const client = this.#client
    return 'callBuffer' in client
      ? await client.callBuffer(String(name), args)
      : await client.sendCommand([...command], AS_BYTES)
  }

  /** Answers of commands that go over one connection without anything of ours between them; their keys are in one slot. */
  async together(commands: readonly Command[]): Promise<unknown[]> {
    try {
      return await this.#attemptTogether(commands)
    } catch (error) {
      const [first] = commands
      if (first === undefined || !isErrorLike(error) || !MOVED.test(error.message)) throw error
      // A client follows that for all of a pipeline or for none of it, and a command without a key is not moved: one that has a key shows it the way.
      await this.command(first)
      return await this.#attemptTogether(commands)
    }
  }

  async #attemptTogether(commands: readonly Command[]): Promise<unknown[]> {
    const client = this.#client
    if (!('callBuffer' in client)) {
      return await Promise.all(commands.map((command) => client.sendCommand([...command], AS_BYTES)))
    }
    const pipeline = client.pipeline()
    for (const [name = '', ...args] of commands) pipeline.callBuffer(String(name), args)
    const answers = (await pipeline.exec()) ?? []
    return answers.map(([error, answer]) => {
      if (error !== null) throw error
      return answer
    })
  }

  /** Runs a script, by its digest where the server knows it; then further commands, on the same connection. */
  async run(
    script: Script,
    keys: readonly string[],
    args: Command,
    behind: readonly Command[] = [],
  ): Promise<readonly unknown[]> {
    assert(keys.length === script.keys, 'a script declares all its keys')
    const rest = [String(keys.length), ...keys, ...args]
    try {
      return await this.#sent([['EVALSHA', script.sha, ...rest], ...behind])
    } catch (error) {
      if (!isErrorLike(error) || !NO_SCRIPT.test(error.message)) throw error
      return await this.#sent([['EVAL', script.text, ...rest], ...behind])
    }
  }

  async #sent(commands: readonly Command[]): Promise<readonly unknown[]> {
    const [first] = commands
    if (first !== undefined && commands.length === 1) return [await this.command(first)]
    return await this.together(commands)
  }
}
