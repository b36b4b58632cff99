import Table from 'cli-table3'
import type { ExperimentOptions, ExperimentResult } from './experiment.js'
import type { RunResult } from './protocol.js'
import type { WindowTotals } from './totals.js'
import type { Kill } from './verdict.js'

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
    `  killed ${times(kills.length).padEnd(13)}  ${runLine(killed)}`,
    ...(killed.skippedLines > 0 ? [`  ${count(killed.skippedLines)} broken lines were passed over`] : []),
    '',
    'SHA-256 of the results',
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
    head: ['from (UTC)', 'model', 'tenant', 'count', 'tokens in', 'tokens out', 'cost $', 'max ms'],
    colAligns: ['left', 'left', 'left', 'right', 'right', 'right', 'right', 'right'],
    chars: PLAIN,
    style: { head: [], border: [], compact: true, 'padding-left': 0, 'padding-right': 1 },
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

/** No lines between columns: the table fits 80 columns. */
const PLAIN = Object.fromEntries(
  ['top', 'bottom', 'left', 'right', 'mid', 'middle']
    .flatMap((edge) => [edge, `${edge}-left`, `${edge}-mid`, `${edge}-right`])
    .concat('mid-mid')
    .map((edge) => [edge, '']),
)

function windowName(startMs: number): string {
  return new Date(startMs).toISOString().slice(0, 16).replace('T', ' ')
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
    return `  ${at};\n     restored ${checkpointId} (request ${count(events)}), ${count(replayed(kill))} requests replayed`
  })
  if (kills.length === options.kills) return lines
  const missing = `only ${kills.length} of ${options.kills} happened: the input was over too soon`
  return [...lines, `  ${missing}; use a longer input, or a larger --pace`]
}

function verdictLines({ verdict, kills }: ExperimentResult): string[] {
  if (!verdict.equal) return ['DIFFERENT:', ...verdict.differences.map((difference) => `  ${difference}`)]
  if (kills.length === 0) return ['EQUAL, but this proves nothing: the run was never killed']
  return ['EQUAL: the kill left no trace']
}

function runLine({ events, durationMs, saves }: RunResult): string {
  const seconds = (durationMs / 1000).toFixed(1)
  const { created, failed, lastSizeBytes } = saves
  const failures = failed > 0 ? `, ${failed} failed` : ''
  const size = created > 0 && lastSizeBytes > 0 ? `, ${count(Math.ceil(lastSizeBytes / 1_000))} KB` : ''
  return `${count(events)} requests in ${seconds} s; checkpoints: ${created}${size}${failures}`
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
