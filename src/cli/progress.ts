import { Presets, SingleBar } from 'cli-progress'

/** How far a command has come. */
export interface Progress {
  advance(done: number): void
  /** Takes the bar away, until there is another step. */
  end(): void
}

/** What is over by then shows no bar. */
const QUIET_MS = 1_000

/** A bar that appears when the work has taken a second. */
export function progressBar(stream: NodeJS.WriteStream, label: string, total: number): Progress {
  const beganAtMs = performance.now()
  let bar: SingleBar | undefined
  return {
    advance: (done) => {
      if (bar === undefined && performance.now() - beganAtMs >= QUIET_MS) {
        const format = `${label} {bar} {percentage} %`
        bar = new SingleBar(
          { format, stream, barsize: 30, hideCursor: true, clearOnComplete: true },
          Presets.shades_classic,
        )
        bar.start(Math.max(total, 1), 0)
      }
      bar?.update(Math.min(done, total))
    },
    end: () => {
      bar?.stop()
      bar = undefined
    },
  }
}
