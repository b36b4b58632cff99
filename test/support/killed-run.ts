import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** How often a job is killed: `HOLDFAST_KILLS` asks for another number. */
export function killsOf(count: number): number {
  return Number(process.env['HOLDFAST_KILLS'] ?? count)
}

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
