// One member of a consumer group of Redis, in this process: the scripts are known by what they are, not run. test/services runs them.

import { OPEN, READ } from '../../src/sources/redis-streams/group-scripts.js'

type Entry = readonly [id: string, fields: readonly string[]]

/** A stream that only one consumer reads. */
export class FakeRedisGroup {
  readonly #entries: Entry[] = []
  #delivered = 0
  /** New entries are asked for so many times without an answer until `answerLate`. */
  lateAnswers = 0
  /** So many attempts to ask for new entries are lost on their way; `arrive` carries them out. */
  lostAttempts = 0
  readonly #lost: (() => void)[] = []
  readonly #late: (() => void)[] = []

  readonly client = { call: (command: string, ...args: string[]) => this.#answer(command, args) }

  add(...events: readonly unknown[]): void {
    for (const event of events)
      this.#entries.push([`1-${this.#entries.length + 1}`, ['json', JSON.stringify(event)]])
  }

  /** What was lost on its way is carried out after all; nobody waits for it any more. */
  arrive(): void {
    for (const run of this.#lost.splice(0)) run()
  }

  answerLate(): void {
    for (const answer of this.#late.splice(0)) answer()
  }

  async #answer(command: string, [script, , , , , , , ...args]: readonly string[]): Promise<unknown> {
    if (command !== 'EVAL') return null
    const last = `1-${this.#entries.length}`
    if (script === OPEN) return ['DONE', 0, last]
    if (script !== READ) return ['DONE', '', []]
    const [count = '', behind = ''] = args
    if (behind !== '') return ['DONE', '', this.#own(behind).slice(0, Number(count))]
    if (this.lostAttempts > 0) {
      this.lostAttempts--
      this.#lost.push(() => this.#deliver(Number(count)))
      return await new Promise(() => {})
    }
    const answer = ['DONE', last, this.#deliver(Number(count))]
    if (this.lateAnswers === 0) return answer
    this.lateAnswers--
    return await new Promise((resolve) => {
      this.#late.push(() => resolve(answer))
    })
  }

  #own(behind: string): readonly Entry[] {
    const from = behind === '0-0' ? 0 : Number(behind.split('-')[1])
    return this.#entries.slice(from, this.#delivered)
  }

  #deliver(count: number): readonly Entry[] {
    const from = this.#delivered
    this.#delivered = Math.min(this.#entries.length, from + count)
    return this.#entries.slice(from, this.#delivered)
  }
}
