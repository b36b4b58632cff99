import { expect } from 'vitest'
import type { Fault, FaultRun } from './fault.js'
import type { FaultKit } from './fault-kit.js'

/** More calls than any script makes: a loop that gets here is not ending. */
const MAX_CYCLES = 1_000

export interface EveryCall {
  /** How many cycles go on at a time. */
  readonly lanes: number
  readonly faultAt: (at: number) => Fault
  /** The fault comes at every `stride`-th call only: 1, 1 + stride, … Default 1. */
  readonly stride?: number
  /** Runs the script in a new folder, with the fault. */
  readonly run: (base: string, fault: Fault) => Promise<FaultRun>
  /** Looks at what the run has left in its folder. */
  readonly verify: (run: FaultRun, base: string) => Promise<void>
}

/**
 * Runs a script with the fault at its first call, its second, and so on, until the fault no longer fires, and verifies
 * each time. Returns how many fired. A failure says at which call.
 */
export async function forEveryCall(
  kit: FaultKit,
  { lanes, faultAt, stride = 1, run, verify }: EveryCall,
): Promise<number> {
  let next = 1
  let cycles = 0
  const lane = async () => {
    while (next < MAX_CYCLES) {
      const fault = faultAt(next)
      next += stride
      const base = await kit.newFolder()
      const result = await run(base, fault)
      await verifying(result, fault, () => verify(result, base))
      if (!result.fired) return expect(result.lines.at(-1), result.errorOutput).toBe('done')
      cycles++
    }
    throw new Error('the script never ran to its end')
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return cycles
}

/** How many of so many calls `forEveryCall` comes to. */
export function strides(calls: number, stride: number): number {
  return Math.ceil(calls / stride)
}

/** Makes a failed check say which fault it was, and what the script said. */
export async function verifying(run: FaultRun, fault: Fault, check: () => Promise<void>): Promise<void> {
  try {
    await check()
  } catch (error) {
    const about = `${JSON.stringify(fault)} at ${run.firedAt?.name} ${run.firedAt?.path}: ${String(error)}`
    throw new Error([about, ...run.lines, run.errorOutput].join('\n'), { cause: error })
  }
}
