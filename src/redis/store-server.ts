// The server that holds a store, as the store's parts ask it: with the patience of the caller's options, and errors that name the store.

import { isStateError, StateError } from '../base/errors.js'
import type { Outage } from '../remote/outage.js'
import type { Command, RedisBackendClient } from './clients.js'
import { Connection } from './connection.js'
import type { PartKeys } from './layout.js'
import type { Script } from './scripts.js'

export class StoreServer {
  /** Names the store in errors. */
  readonly place: string
  readonly connection: Connection
  /** That of reads. Writers of parts have each their own: that others are answered does not prolong the time in which one must be. */
  readonly #outage: Outage
  #isClosed = false

  constructor(place: string, client: RedisBackendClient, outage: Outage) {
    this.place = place
    this.connection = new Connection(client)
    this.#outage = outage
  }

  /** What waits for an answer from now on is told that the store is closed. */
  close(): void {
    this.#isClosed = true
  }

  async command(operation: string, command: Command): Promise<unknown> {
    return await this.ask(operation, () => this.connection.command(command))
  }

  async together(operation: string, commands: readonly Command[]): Promise<unknown[]> {
    return await this.ask(operation, () => this.connection.together(commands))
  }

  /** The answer of a script. */
  async run(operation: string, script: Script, keys: readonly string[], args: Command): Promise<unknown> {
    const [answer] = await this.ask(operation, () => this.connection.run(script, keys, args))
    return answer
  }

  /** What the server that has these keys tells of its memory. */
  async memory(keys: PartKeys): Promise<string> {
    const [, info] = await this.together('open', [
      ['HLEN', keys.data],
      ['INFO', 'memory'],
    ])
    return String(info)
  }

  async ask<Answer>(operation: string, call: () => Promise<Answer>): Promise<Answer> {
    try {
      return await this.#outage.answerOf(operation, call)
    } catch (error) {
      if (this.#isClosed && isStateError(error, 'ABORTED'))
        throw new StateError('CLOSED', { component: 'redis backend' })
      throw error
    }
  }
}
