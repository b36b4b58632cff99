// The caller's client for bytes: commands that belong together go over one connection, one behind the other.

import { isUtf8 } from 'node:buffer'
import { assert } from '../base/assert.js'
import { isErrorLike } from '../base/shapes.js'
import { type Command, type CommandSender, type RedisBackendClient, senderOf } from './clients.js'
import type { PreparedRead } from './ioredis-reads.js'
import type { Script } from './scripts.js'

/**
 * Copies of bytes as arguments: as texts where all of them are texts (UTF-8, of which ASCII is the quickest), which clients send in a fraction of the time
 * that they take for bytes.
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
  if (isUtf8(joined) && all.every(beginsCharacter))
    return all.map((each) => joined.toString('utf8', start, (start += each.length)))
  return all.map((each) => joined.subarray(start, (start += each.length)))
}

/** Where all bytes together are UTF-8, each text is that begins with a character, and not in the middle of one. */
const beginsCharacter = (bytes: Uint8Array): boolean => ((bytes[0] ?? 0) & 0xc0) !== 0x80

const NO_SCRIPT = /^NOSCRIPT/
const MOVED = /^(MOVED|ASK)\b/

export class Connection {
  readonly #sender: CommandSender

  constructor(client: RedisBackendClient) {
    this.#sender = senderOf(client)
  }

  async command(command: Command): Promise<unknown> {
    return await this.#sender.one(command)
  }

  /** Answers of commands that go over one connection without anything of ours between them; their keys are in one slot. Texts may come as bytes or as texts. */
  async together(commands: readonly Command[]): Promise<unknown[]> {
    try {
      return await this.#sender.together(commands)
    } catch (error) {
      const [first] = commands
      if (first === undefined || !isErrorLike(error) || !MOVED.test(error.message)) throw error
      // A client follows that for all of a pipeline or for none of it, and a command without a key is not moved: one that has a key shows it the way.
      await this.command(first)
      return await this.#sender.together(commands)
    }
  }

  /** A read of fields of a hash, which are copied within the call, and of what is asked behind it, on the same connection. Texts come as bytes. */
  read(key: string, fields: readonly Uint8Array[], behind?: Command): PreparedRead {
    const prepared = behind === undefined ? this.#sender.prepareRead?.(key, fields) : undefined
    if (prepared !== undefined) return prepared
    const copies = fieldsOf(fields)
    const command = ['HMGET', key, ...copies]
    return {
      send: async () =>
        behind === undefined ? [await this.command(command)] : await this.inOrder([command, behind]),
      fieldAt: (index) => new Uint8Array(Buffer.from(copies[index] ?? '')),
    }
  }

  /** Answers of commands of which each sees what the one before has seen, at least. Texts come as bytes. */
  async inOrder(commands: readonly Command[]): Promise<unknown[]> {
    if (this.#sender.givesBytesTogether) return await this.together(commands)
    const answers: unknown[] = []
    for (const command of commands) answers.push(await this.command(command))
    return answers
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
