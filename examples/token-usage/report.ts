import Table from 'cli-table3'
import type { ExperimentOptions, ExperimentResult } from './experiment.js'
import type { RunResult } from './protocol.js'
import type { Kill } from './verdict.js'
import { WINDOW_MS, type WindowTotals } from './window-state.js'

/** The result for people. */
export function textReport(result: ExperimentResult, options: ExperimentOptions): string {
  const { uninterrupted, killed, kills } = result
  return [
    '',
    `Busiest of ${count(killed.windows)} one-minute windows, from the run that was killed`,
    windowTable(killed.busiest),
    '',
    `Kills (--seed-kill ${options.seedKill} draws the same moments again)`,
    ...killLines(kills, options),
    '',
    'Runs',
    `  without interruption  ${runLine(uninterrupted)}`,
    `  after the last start  ${runLine(killed)}`,
    ...(killed.skippedLines > 0 ? [`  ${count(killed.skippedLines)} broken lines were passed over`] : []),
    '',
    'SHA-256 of all windows',
    `  without interruption  ${uninterrupted.digest}`,
    `  killed ${times(kills.length).padEnd(13)}  ${killed.digest}`,
    ...verdictLines(result),
    '',
  ].join('\n')
}

/** The result for machines. */
export function jsonReport(result: ExperimentResult, options: ExperimentOptions): string {
  const { verdict, kills, uninterrupted, killed } = result
  const document = {
    equal: verdict.equal,
    differences: verdict.differences,
    source: result.source,
    backend: options.backend,
    events: uninterrupted.events,
    skippedLines: uninterrupted.skippedLines,
    windows: uninterrupted.windows,
    seedKill: options.seedKill,
    killsPlanned: options.kills,
    kills: kills.map((kill) => ({ ...kill, replayedEvents: replayed(kill) })),
    // The windows are listed once, below.
    uninterrupted: { ...uninterrupted, busiest: undefined },
    killed: { ...killed, busiest: undefined },
    busiestWindows: killed.busiest,
  }
  return `${JSON.stringify(document, undefined, 2)}\n`
}

function windowTable(windows: readonly WindowTotals[]): string {
  const table = new Table({
    head: ['window (UTC)', 'model', 'tenant', 'requests', 'tokens in', 'tokens out', 'cost $', 'max ms'],
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  })
  for (const window of windows) {
    table.push([
      windowName(window.startMs),
      oneLine(window.model),
      oneLine(window.tenant),
      count(window.count),
      count(window.tokensIn),
      count(window.tokensOut),
      (window.costMicros / 1_000_000).toFixed(4),
      count(Math.round(window.maxLatencyMs)),
    ])
  }
  return table.toString()
}

function windowName(startMs: number): string {
  const time = (ms: number) => new Date(ms).toISOString()
  return `${time(startMs).slice(0, 16).replace('T', ' ')}–${time(startMs + WINDOW_MS).slice(11, 16)}`
}

function oneLine(name: string): string {
  const text = JSON.stringify(name).slice(1, -1)
  return text.length > 30 ? `${text.slice(0, 29)}…` : text
}

function killLines(kills: readonly Kill[], options: ExperimentOptions): string[] {
  const lines = kills.map((kill, i) => {
    const at = `${i + 1}. at request ${count(kill.atEvents)} or a little later`
    if (kill.restored === undefined) return `  ${at}; nothing was restored`
    const { checkpointId, events } = kill.restored
    return `  ${at}; restored ${checkpointId} (request ${count(events)}); ${count(replayed(kill))} requests replayed`
  })
  if (kills.length === options.kills) return lines
  const missing = `only ${kills.length} of ${options.kills} happened: the input was over too soon`
  return [...lines, `  ${missing}; use a longer input, a larger --pace, or a smaller --checkpoint-every`]
}

function verdictLines({ verdict, kills }: ExperimentResult): string[] {
  if (!verdict.equal) return ['DIFFERENT:', ...verdict.differences.map((difference) => `  ${difference}`)]
  if (kills.length === 0) return ['EQUAL, but this proves nothing: the run was never killed']
  return ['EQUAL: the kill left no trace']
}

function runLine({ events, durationMs, checkpoints }: RunResult): string {
  const seconds = (durationMs / 1000).toFixed(1)
  const { created, failed, totalDurationMs, lastSizeBytes } = checkpoints
  const average = created > 0 ? `${(totalDurationMs / created).toFixed(0)} ms each, ` : ''
  const made = `${created} (${average}the last of ${count(lastSizeBytes)} bytes${failed > 0 ? `; ${failed} failed` : ''})`
  return `up to request ${count(events)} in ${seconds} s; checkpoints: ${made}`
}

/** At least so many requests were taken twice: those reported after the cut of the checkpoint. */
function replayed(kill: Kill): number {
  return Math.max(0, kill.atEvents - (kill.restored?.events ?? 0))
}

function times(number: number): string {
  return number === 1 ? 'once' : `${number} times`
}

function count(number: number): string {
  return number.toLocaleString('en-US')
}
