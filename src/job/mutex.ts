/** One holder at a time, in the order of the calls. */
export class Mutex {
  #last: Promise<void> = Promise.resolve()

  /** Resolves once everybody before has unlocked, with what unlocks. */
  async lock(): Promise<() => void> {
    const before = this.#last
    let unlock: () => void = () => {}
    this.#last = new Promise((resolve) => {
      unlock = resolve
    })
    await before
    return unlock
  }

  async run<Result>(work: () => Promise<Result>): Promise<Result> {
    const unlock = await this.lock()
    try {
      return await work()
    } finally {
      unlock()
    }
  }
}
