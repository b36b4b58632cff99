// An engine that is far away: each call takes turns of the event loop on its way and back, and what it does is one step at the
// other end. Scans come in pages, each of which sees another instant. No snapshots, no times to live: it says so.

import {
  compareBytes,
  equalBytes,
  ForwardClock,
  OperationKind,
  RemoteBackend,
  StateError,
  systemClock,
} from 'holdfast/engine'

const PAGE_ENTRIES = 3
const isWrite = (kind) => kind === 'put' || kind === 'delete' || kind === 'deleteRange'
const isInside = (key, { from, until }) =>
  compareBytes(key, from) >= 0 && (until === undefined || compareBytes(key, until) < 0)
const onItsWay = () => new Promise((resolve) => setImmediate(resolve))

/** The other end: knows nothing of the package, and takes one request at a time. */
class Server {
  rows = []

  find(key) {
    return this.rows.find((row) => compareBytes(row.key, key) === 0)
  }

  /** In order, from a key on or before it. */
  page({ from, until, reverse }) {
    const inside = this.rows.filter(({ key }) => isInside(key, { from, until }))
    return (reverse ? inside.reverse() : inside).slice(0, PAGE_ENTRIES)
  }

  write(operations) {
    for (const { kind, key, value } of operations) {
      if (isWrite(kind)) continue
      const held = this.find(key)?.value
      const holds = held === undefined || value === undefined ? held === value : equalBytes(held, value)
      if (!holds) return key
    }
    for (const { kind, key, value, range } of operations) {
      if (kind === 'deleteRange') this.rows = this.rows.filter((row) => !isInside(row.key, range))
      else if (isWrite(kind)) this.rows = this.rows.filter((row) => compareBytes(row.key, key) !== 0)
      if (kind === 'put') this.rows.push({ key, value })
    }
    this.rows.sort((left, right) => compareBytes(left.key, right.key))
    return undefined
  }
}

class RemoteToy {
  name = 'remote-toy'
  supports = Object.freeze({
    sync: false,
    ttl: false,
    orderedScan: 'paged',
    snapshots: false,
    changes: false,
    sharing: false,
    replace: false,
    inPlace: false,
    durable: true,
  })
  clock = new ForwardClock(systemClock)
  ttlMs = Infinity
  expired = 0
  #server = new Server()

  get entries() {
    return this.#server.rows.length
  }

  getMany(keys) {
    return this.#ask(() => keys.map((key) => this.#server.find(key)?.value.slice()))
  }

  has(key) {
    return this.#ask(() => this.#server.find(key) !== undefined)
  }

  async expiredAtMs() {
    return undefined
  }

  async write({ cursor }) {
    const operations = []
    const names = {
      [OperationKind.PUT]: 'put',
      [OperationKind.DELETE]: 'delete',
      [OperationKind.DELETE_RANGE]: 'deleteRange',
      [OperationKind.EXPECT_VALUE]: 'is',
    }
    while (cursor.next()) {
      const kind = names[cursor.kind] ?? 'is not'
      const value = kind === 'put' || kind === 'is' ? cursor.value().slice() : undefined
      const range = kind === 'deleteRange' ? cursor.interval() : undefined
      operations.push({ kind, key: cursor.key().slice(), value, range })
    }
    const key = await this.#ask(() => this.#server.write(operations))
    if (key !== undefined) throw new StateError('CONCURRENT_MODIFICATION', { key })
  }

  deleteRange(range) {
    return this.#ask(() => this.#server.write([{ kind: 'deleteRange', range }]))
  }

  clear() {
    return this.#ask(() => {
      this.#server.rows = []
    })
  }

  async *scan({ from, until, reverse }) {
    let stretch = { from, until, reverse }
    for (;;) {
      const asked = stretch
      const page = await this.#ask(() => this.#server.page(asked))
      for (const { key, value } of page) yield [key.slice(), value.slice()]
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ENTRIES) return
      stretch = reverse
        ? { ...stretch, until: last.key }
        : { ...stretch, from: Uint8Array.of(...last.key, 0) }
    }
  }

  count() {
    return this.#ask(() => this.#server.rows.length)
  }

  async flush() {
    await onItsWay()
  }

  async close() {
    await onItsWay()
  }

  async #ask(request) {
    await onItsWay()
    const answer = request()
    await onItsWay()
    return answer
  }
}

export class RemoteToyBackend extends RemoteBackend {
  constructor() {
    super(new RemoteToy())
  }
}
