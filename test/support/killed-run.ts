import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** How often a job is killed: `HOLDFAST_KILLS` asks for another number. */
export function killsOf(count: number): number {
  return Number(process.env['HOLDFAST_KILLS'] ?? count)
}

/** How long a test may take that kills so often: on a machine that has much else to do, each process takes long to start. */
export const killLimitMs = (kills: number): number => 300_000 + kills * 60_000

/**
 * Runs a script that prints a line now and then and waits for one, and kills it behind so many of them; whether it had come to its end before,
 * where it prints a line that begins with `end`.
 */
export async function runUntilKilled(
  script: string,
  args: readonly string[],
  lines: number,
  end: string,
): Promise<boolean> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  // It may be killed before it has read what it was given.
  child.stdin.on('error', () => {})
  const ended = new Promise((resolve) => child.on('exit', resolve))
  let isDone = false
  let seen = 0
  for await (const line of createInterface({ input: child.stdout })) {
    if (line.startsWith(end)) isDone = true
    else if (++seen === lines) child.kill('SIGKILL')
    else child.stdin.write('\n')
  }
  await ended
  return isDone
}
