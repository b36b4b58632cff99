/** Whether tests run with their full counts. `HOLDFAST_LONG=1` asks for them; otherwise they are scaled down. */
const LONG: boolean = process.env['HOLDFAST_LONG'] === '1'

/** What a long run does, and what a quick one does: most often a count. */
export function runs<Extent = number>(long: Extent, quick: Extent): Extent {
  return LONG ? long : quick
}

/** By which one looks longer at models. */
const MODEL_FACTOR = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 1)

/** The runs of a model test: those of `runs`, times HOLDFAST_MODEL_RUNS (a factor; default 1). */
export function modelRuns(long: number, quick: number): number {
  return Math.ceil(runs(long, quick) * MODEL_FACTOR)
}

/** The limit of a model test that takes so long at most with its usual runs. */
export function modelLimitMs(usualMs: number): number {
  return usualMs * Math.max(1, MODEL_FACTOR)
}

/** Why a test that cannot be scaled down is left out of a quick run, for its title; `undefined` in a long one. */
export const leftToLongRuns: string | undefined = LONG ? undefined : 'npm run test:long runs it'
