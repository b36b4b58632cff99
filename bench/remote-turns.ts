// Turns of a client by hand and of holdfast, one after the other, so that what else the machine does touches both.

export interface Turn {
  readonly name: string
  /** What comes before it, and is not counted. */
  prepare?(): Promise<void>
  run(): Promise<unknown>
}

/** What turns came to, one number for each run. The first turn is that by hand. */
export interface Figure {
  readonly title: string
  /** Operations a second, of each turn. */
  readonly rates: { readonly [turn: string]: readonly number[] }
  /** Microseconds of this process's processor for an operation, of each turn. */
  readonly cpuUs: { readonly [turn: string]: readonly number[] }
  /** How much of the speed by hand holdfast has, and how much of its processor's time it takes. */
  readonly ratios: readonly number[]
  readonly cpuRatios: readonly number[]
}

/** One turn of each is not counted: it warms up client and server. */
export async function turns(
  title: string,
  all: readonly Turn[],
  { operations, runs }: { readonly operations: number; readonly runs: number },
): Promise<Figure> {
  const rates: { [turn: string]: number[] } = {}
  const cpuUs: { [turn: string]: number[] } = {}
  for (const { name } of all) {
    rates[name] = []
    cpuUs[name] = []
  }
  for (let run = -1; run < runs; run++) {
    // Who begins changes: what one leaves behind, the other must not pay for each time.
    for (const { name, prepare, run: work } of run % 2 === 0 ? all : all.toReversed()) {
      await prepare?.()
      const cpu = process.cpuUsage()
      const beganMs = performance.now()
      await work()
      const ms = performance.now() - beganMs
      const { user, system } = process.cpuUsage(cpu)
      if (run < 0) continue
      rates[name]?.push((operations / ms) * 1_000)
      cpuUs[name]?.push((user + system) / operations)
    }
  }
  const [first, second] = all.map(({ name }) => name)
  const ratios = (of: { readonly [turn: string]: readonly number[] }) =>
    (of[second ?? ''] ?? []).map((figure, i) => figure / (of[first ?? '']?.[i] ?? Number.NaN))
  return { title, rates, cpuUs, ratios: ratios(rates), cpuRatios: ratios(cpuUs) }
}
