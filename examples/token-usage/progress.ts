import { Presets, SingleBar } from 'cli-progress'

/** What is shown while the runs go on. */
export interface Progress {
  note(line: string): void
  begin(label: string): void
  advance(fraction: number, events: number): void
  checkpoint(): void
  end(line: string): void
  /** After this nothing moves any more, also where a run did not come to its end. */
  close(): void
}

/** For machines: nothing. */
export const silentProgress: Progress = {
  note: () => {},
  begin: () => {},
  advance: () => {},
  checkpoint: () => {},
  end: () => {},
  close: () => {},
}

/** Bars on a terminal, and plain lines at every quarter where the output goes elsewhere. */
export function progressFor(stream: NodeJS.WriteStream): Progress {
  return stream.isTTY ? new ProgressBar(stream) : new ProgressLines(stream)
}

class ProgressLines implements Progress {
  readonly #stream: NodeJS.WritableStream
  #quarters: number | undefined
  #checkpoints = 0

  constructor(stream: NodeJS.WritableStream) {
    this.#stream = stream
  }

  note(line: string): void {
    this.#stream.write(`  ${line}\n`)
  }

  begin(label: string): void {
    this.#quarters = undefined
    this.#checkpoints = 0
    this.#stream.write(`run ${label}\n`)
  }

  advance(fraction: number, events: number): void {
    const quarters = Math.floor(fraction * 4)
    // A run that begins with a restored checkpoint does not begin at 0.
    this.#quarters ??= quarters
    if (quarters > this.#quarters && quarters < 4) {
      const at = `${quarters * 25} %: request ${events.toLocaleString('en-US')}`
      this.note(`${at}, checkpoints: ${this.#checkpoints}`)
    }
    this.#quarters = Math.max(quarters, this.#quarters)
  }

  checkpoint(): void {
    this.#checkpoints++
  }

  end(line: string): void {
    this.note(line)
  }

  close(): void {}
}

class ProgressBar implements Progress {
  readonly #stream: NodeJS.WriteStream
  #bar: SingleBar | undefined
  #notes: string[] = []
  #checkpoints = 0

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream
  }

  /** Lines have to wait until the bar is finished: it owns its line. */
  note(line: string): void {
    if (this.#bar === undefined) this.#stream.write(`  ${line}\n`)
    else this.#notes.push(line)
  }

  begin(label: string): void {
    this.#checkpoints = 0
    const format = `  {bar} {percentage} %  ${label}: request {events}, checkpoints: {checkpoints}`
    this.#bar = new SingleBar(
      { format, stream: this.#stream, barsize: 30, hideCursor: true },
      Presets.shades_classic,
    )
    this.#bar.start(100, 0, { events: 0, checkpoints: 0 })
  }

  advance(fraction: number, events: number): void {
    const checkpoints = this.#checkpoints
    this.#bar?.update(Math.floor(fraction * 100), { events: events.toLocaleString('en-US'), checkpoints })
  }

  checkpoint(): void {
    this.#checkpoints++
  }

  end(line: string): void {
    this.close()
    this.note(line)
  }

  close(): void {
    this.#bar?.stop()
    this.#bar = undefined
    for (const note of this.#notes) this.note(note)
    this.#notes = []
  }
}
