import { closeSync, openSync, writeSync } from 'node:fs'
import { constants } from 'node:os'

/** What goes wrong, and when. `at` counts from 1: file calls for kill, fail and stall, writes alone for torn, short and full. */
export type Fault =
  /** The process dies before the call. */
  | { readonly action: 'kill'; readonly at: number }
  /** The call fails and does nothing; `repeat`: and so do all after it. */
  | {
      readonly action: 'fail'
      readonly at: number
      readonly errno: 'EIO' | 'ENOSPC' | 'EDQUOT'
      readonly repeat: boolean
    }
  /** The first `bytes` of the write reach the file, then the process dies. */
  | { readonly action: 'torn'; readonly at: number; readonly bytes: number }
  /** The write takes only `bytes` and reports no error, which libuv mends unless they are 0; `repeat`: and so do all after it. */
  | { readonly action: 'short'; readonly at: number; readonly bytes: number; readonly repeat: boolean }
  /** A disk that is full for a moment: the write takes only `bytes`, the next one fails; libuv reports no error. */
  | { readonly action: 'full'; readonly at: number; readonly bytes: number }
  /** The call waits until the fault is taken away: a device that does not answer. */
  | { readonly action: 'stall'; readonly at: number }

export interface FaultRunOptions {
  /** Absolute path: calls on it and on what lies under it are counted. */
  readonly prefix: string
  /** What the script gets as `args`. */
  readonly args?: readonly string[]
  /** Without one, the run only counts. */
  readonly fault?: Fault | undefined
}

/** A counted call, as the shim names it: `create`, `open`, `write`, `fsync`, `link`, `rename`, `unlink`, `mkdir`, … */
export interface FaultCall {
  readonly name: string
  readonly path: string
}

export interface FaultRun {
  /** Whether the fault was injected. If not, the script made fewer calls than `at`: it is covered to its end. */
  readonly fired: boolean
  /** The counted calls, in order. */
  readonly calls: readonly FaultCall[]
  /** The call at which the fault fired first. */
  readonly firedAt: FaultCall | undefined
  /** The lines that the script wrote to its standard output. */
  readonly lines: readonly string[]
  readonly errorOutput: string
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
}

const actions = ['none', 'kill', 'fail', 'torn', 'short', 'full', 'stall']

/** Writes the control file that the shim has mapped (or will map); see `shim.c` for its six integers. */
export function arm(controlPath: string, generation: number, fault: Fault | undefined): void {
  const settings = BigInt64Array.of(
    BigInt(generation),
    BigInt(actions.indexOf(fault?.action ?? 'none')),
    BigInt(fault?.at ?? 0),
    BigInt(constants.errno[fault?.action === 'fail' ? fault.errno : 'ENOSPC']),
    BigInt(fault !== undefined && 'bytes' in fault ? fault.bytes : 0),
    BigInt(fault !== undefined && 'repeat' in fault && fault.repeat ? 1 : 0),
  )
  // In place: the shim would not see a new file of the same name.
  const fd = openSync(controlPath, 'r+')
  try {
    writeSync(fd, settings, 0, settings.byteLength, 0)
  } finally {
    closeSync(fd)
  }
}

export function parseTrace(text: string): Pick<FaultRun, 'fired' | 'calls' | 'firedAt'> {
  const calls: FaultCall[] = []
  let firedAt: FaultCall | undefined
  for (const line of text.split('\n').slice(0, -1)) {
    const space = line.indexOf(' ')
    if (line === '!') firedAt ??= calls.at(-1)
    else calls.push({ name: line.slice(0, space), path: line.slice(space + 1) })
  }
  return { fired: firedAt !== undefined, calls, firedAt }
}
