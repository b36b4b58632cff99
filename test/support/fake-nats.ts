// As much of JetStream as the tests of its source and sink need, in this process: one stream.

import type { NatsClient, NatsMessage, NatsMessages } from '../../src/nats.js'

export class FakeNats {
  readonly ids: string[] = []
  /** The next publications fail, as where the connection is lost. */
  failures = 0
  /** How many there were. */
  consumers = 0
  /** Those that give messages. */
  open = 0
  /** So many are begun only when `beginLate` is called. */
  lateConsumers = 0
  /** Told of each message that a consumer gives. */
  onGiven: (seq: number) => void = () => {}
  readonly #late: (() => void)[] = []
  /** Each ends at once. */
  endsConsumers = false
  #messages: { readonly seq: number; readonly text: string }[] = []
  #last = 0
  #first = 1
  #wakes = new Set<() => void>()
  #generation = 0

  readonly client: NatsClient = {
    consumers: {
      get: async (_, options) => {
        this.consumers++
        const pending = () => this.#messages.filter(({ seq }) => seq >= options.opt_start_seq).length
        return {
          info: async () => ({ num_pending: pending() }),
          consume: async () => {
            if (this.lateConsumers > 0) {
              this.lateConsumers--
              await new Promise<void>((resolve) => {
                this.#late.push(resolve)
              })
            }
            return this.#consume(options.opt_start_seq)
          },
          delete: async () => true,
        }
      },
    },
    publish: async (_, payload, { msgID }) => {
      if (this.failures-- > 0) throw Object.assign(new Error('timeout'), { name: 'TimeoutError' })
      const duplicate = this.ids.includes(msgID)
      if (!duplicate) {
        this.ids.push(msgID)
        this.#add(payload)
      }
      return { seq: this.#last, duplicate }
    },
    jetstreamManager: async () => ({
      streams: {
        info: async () => ({ state: { first_seq: this.#first, last_seq: this.#last }, config: {} }),
      },
    }),
  }

  beginLate(): void {
    for (const begin of this.#late.splice(0)) begin()
  }

  add(...events: readonly unknown[]): void {
    for (const event of events) this.#add(JSON.stringify(event))
  }

  /** A message behind some that were removed before anyone has seen them, with all before them. */
  addBehind(removed: number, event: unknown): void {
    this.#last += removed
    this.purge(this.#last + 1)
    this.add(event)
  }

  events(): unknown[] {
    return this.#messages.map(({ text }) => JSON.parse(text) as unknown)
  }

  /** Removes what is before. */
  purge(seq: number): void {
    this.#first = seq
    this.#messages = this.#messages.filter((message) => message.seq >= seq)
  }

  endConsumers(): void {
    this.#generation++
    for (const wake of this.#wakes) wake()
  }

  #add(text: string): void {
    this.#messages.push({ seq: ++this.#last, text })
    for (const wake of this.#wakes) wake()
  }

  #consume(from: number): NatsMessages {
    let isOpen = true
    this.open++
    const generation = this.#generation
    let wake = () => {}
    const next = () => this.#messages.find(({ seq }) => seq >= from)
    const isOver = () => this.endsConsumers || !isOpen || generation !== this.#generation
    const wait = () =>
      new Promise<void>((resolve) => {
        wake = resolve
        this.#wakes.add(wake)
      }).finally(() => this.#wakes.delete(wake))
    const tell = (seq: number) => this.onGiven(seq)
    const shown = (seq: number, text: string): NatsMessage => ({
      subject: 's',
      seq,
      data: new TextEncoder().encode(text),
      info: { pending: this.#last - seq },
      string: () => text,
    })
    async function* messages(): AsyncGenerator<NatsMessage> {
      while (!isOver()) {
        const found = next()
        if (found === undefined) {
          await wait()
          continue
        }
        from = found.seq + 1
        tell(found.seq)
        yield shown(found.seq, found.text)
      }
    }
    return Object.assign(messages(), {
      close: async () => {
        if (isOpen) this.open--
        isOpen = false
        wake()
      },
    })
  }
}
