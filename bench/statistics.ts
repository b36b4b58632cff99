export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

/** `2.10x (1.95–2.31)`: the median of ratios and their range over the runs. */
export function describeRatios(ratios: readonly number[]): string {
  const digits = median(ratios) >= 100 ? 0 : 2
  const show = (ratio: number) => ratio.toFixed(digits)
  return `${show(median(ratios))}x (${show(Math.min(...ratios))}–${show(Math.max(...ratios))})`
}

/** `123 (110–140)`: the median and the range. */
export function spread(values: readonly number[]): string {
  const show = (value: number) => value.toFixed(value < 10 ? 1 : 0)
  return `${show(median(values))} (${show(Math.min(...values))}–${show(Math.max(...values))})`
}
