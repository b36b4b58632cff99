/** Whether tests run with their full counts. `HOLDFAST_LONG=1` asks for them; otherwise they are scaled down. */
export const LONG: boolean = process.env['HOLDFAST_LONG'] === '1'

/** A count for a long run and one for a quick run. */
export function runs(long: number, quick: number): number {
  return LONG ? long : quick
}
