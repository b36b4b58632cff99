// As much of Redis as the tests of this folder need, in this process. The scripts of the sink are known by what they do, not run.

import { compareIds } from '../../src/remote/redis-client.js'

interface Entry {
  readonly id: string
  readonly fields: readonly string[]
}

interface Stream {
  entries: Entry[]
  lastId: string
}

export class FakeRedis {
  readonly #streams = new Map<string, Stream>()
  readonly #notes = new Map<string, Map<string, string>>()
  /** Fails the next commands, as a connection that is lost. */
  failures = 0
  commands = 0
  /** So many ranges do not come until `answerLate`. */
  lateRanges = 0
  readonly #late: (() => void)[] = []

  /** As `ioredis` has it. */
  readonly ioredis = { call: (command: string, ...args: string[]) => this.#answer(command, args) }
  /** As `redis` has it. */
  readonly nodeRedis = { sendCommand: ([command = '', ...args]: string[]) => this.#answer(command, args) }

  add(key: string, ...fields: string[]): string {
    const stream = this.#stream(key)
    const id = `1-${Number(stream.lastId.split('-')[1]) + 1}`
    stream.entries.push({ id, fields })
    stream.lastId = id
    return id
  }

  answerLate(): void {
    for (const answer of this.#late.splice(0)) answer()
  }

  entries(key: string): readonly Entry[] {
    return this.#stream(key).entries
  }

  trim(key: string, minId: string): void {
    const stream = this.#stream(key)
    stream.entries = stream.entries.filter(({ id }) => compareIds(id, minId) >= 0)
  }

  async #answer(command: string, args: readonly string[]): Promise<unknown> {
    this.commands++
    if (this.failures > 0) {
      this.failures--
      throw new Error('Connection is closed.')
    }
    const [key = '', ...rest] = args
    if (command === 'XRANGE' && this.lateRanges > 0) {
      this.lateRanges--
      const range = this.#range(key, rest)
      return await new Promise((resolve) => {
        this.#late.push(() => resolve(range))
      })
    }
    if (command === 'XRANGE') return this.#range(key, rest)
    if (command === 'XTRIM') return this.trim(key, rest[1] ?? '')
    if (command === 'HGET') return this.#note(key).get(rest[0] ?? '') ?? null
    // The script that takes the sink over has one key; the one that writes has two.
    if (command === 'EVAL') return rest[0] === '1' ? this.#take(args.slice(2)) : this.#append(args.slice(2))
    // XINFO STREAM
    const stream = this.#streams.get(rest[0] ?? '')
    if (stream === undefined) throw Object.assign(new Error('ERR no such key'), { name: 'ReplyError' })
    return ['length', stream.entries.length, 'last-generated-id', stream.lastId]
  }

  #range(key: string, [from = '', until = '', , count]: readonly string[]): unknown {
    return this.#stream(key)
      .entries.filter(({ id }) => from === '-' || compareIds(id, from) >= 0)
      .filter(({ id }) => until === '+' || compareIds(id, until) <= 0)
      .slice(0, Number(count))
      .map(({ id, fields }) => [id, fields])
  }

  #take([noteKey = '', owner = '', from]: readonly string[]): number {
    const note = this.#note(noteKey)
    const has = note.get('owner') ?? ''
    if (has !== owner && has !== from) return 0
    note.set('owner', owner)
    return 1
  }

  #append([noteKey = '', stream = '', owner, lineage, ...rest]: readonly string[]): unknown {
    const note = this.#note(noteKey)
    if (note.get('owner') !== owner) return ['FENCED', note.get('owner') ?? '']
    const [epoch = 0, first = 0] = rest.map(Number)
    const [noted = -1, done = 0] = note.get(`:${lineage}`)?.split(' ').map(Number) ?? []
    if (noted > epoch) return ['DONE']
    const has = noted === epoch ? done : 0
    const isLost = noted === epoch ? first > done : noted < epoch - 1 || first > 0
    if (isLost && rest[3] === 'strict') return ['LOST', note.get(`:${lineage}`) ?? '']
    let index = first
    for (let at = 5; at < rest.length; at += Number(rest[at]) + 1) {
      const fields = rest.slice(at + 1, at + 1 + Number(rest[at]))
      if (index++ >= has) this.add(stream, ...fields)
    }
    note.set(`:${lineage}`, `${epoch} ${Math.max(index, has)}${rest[4]}`)
    return ['DONE']
  }

  #stream(key: string): Stream {
    const stream = this.#streams.get(key) ?? { entries: [], lastId: '1-0' }
    this.#streams.set(key, stream)
    return stream
  }

  #note(key: string): Map<string, string> {
    const note = this.#notes.get(key) ?? new Map<string, string>()
    this.#notes.set(key, note)
    return note
  }
}
