// The commands, their arguments and options. What a command does is loaded when it is called.

import { type Command, Option, Command as Program } from 'commander'
import { HOLDFAST_VERSION } from '../checkpoint/format/holdfast-version.js'
import type { CommandContext } from './context.js'
import type { Streams } from './outlet.js'

export interface GlobalOptions {
  readonly json?: boolean
  readonly quiet?: boolean
  readonly color?: boolean
  readonly debug?: boolean
}

/** Calls a command with what it works with, and keeps its exit status. `changes`: it changes something, so it goes on when nobody reads what it says. */
export type Caller = (
  options: GlobalOptions,
  changes: boolean,
  command: (context: CommandContext) => Promise<number>,
) => Promise<void>

const PATH = 'directory of checkpoints or of a store of the LMDB engine, or s3://bucket/prefix'
const CHECKPOINTS = 'directory of checkpoints, or s3://bucket/prefix'

/** The program; its own messages, and help, go to these streams. */
export function programFor({ stdout, stderr }: Streams, call: Caller): Command {
  const program = new Program('holdfast')
    .description(
      'Looks into checkpoints and stores, checks, moves and mends them; also beside a running job.',
    )
    .option('--json', 'print JSON: one object, or one in each line')
    .option('-q, --quiet', 'no progress, no notes')
    .option('--no-color', 'no colours (also: the environment variable NO_COLOR)')
    .option('--debug', 'show where an error came from')
    .version(HOLDFAST_VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .addHelpText(
      'after',
      '\nExit status: 0 well, 1 damage or a difference was found, 2 wrong use, 3 failure.',
    )
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
    })
    .showHelpAfterError('(holdfast --help lists the commands)')
  addLooking(program, call)
  addWriting(program, call)
  addOthers(program, call)
  return program
}

type CommandLoader<Args extends readonly unknown[]> = () => Promise<
  (context: CommandContext, ...args: Args) => Promise<number>
>

/** Runs a command of a module: `(context, …arguments, options)`. */
function actionBy(call: Caller, changes: boolean) {
  return <Args extends readonly unknown[]>(load: CommandLoader<Args>) =>
    async (...given: unknown[]) => {
      const command = given.at(-1) as Command
      const args = given.slice(0, -1) as unknown as Args
      await call(command.optsWithGlobals(), changes, async (context) => (await load())(context, ...args))
    }
}

/** What only reads checkpoints and stores. */
function addLooking(program: Command, call: Caller): void {
  const action = actionBy(call, false)
  program
    .command('list')
    .description('checkpoints and savepoints, newest first')
    .argument('<path>', CHECKPOINTS)
    .action(action(async () => (await import('./commands/list.js')).list))
  program
    .command('inspect')
    .description('what a checkpoint says of itself: files, chain, schema, position of the source')
    .argument('<path>', PATH)
    .argument('[id]', 'the checkpoint; default: the newest')
    .action(action(async () => (await import('./commands/inspect.js')).inspect))
  program
    .command('verify')
    .description('reads all of it and compares every checksum')
    .argument('<path>', PATH)
    .argument('[id]', 'the checkpoint; default: the newest')
    .option('--all', 'every checkpoint')
    .action(action(async () => (await import('./commands/verify.js')).verify))
  withForm(reading(program, 'get'))
    .description('the value of a key')
    .argument('<key>', 'text, or 0x and hexadecimal digits; with --state, JSON')
    .option('--state <name>', 'of which state')
    .option('--map-key <json>', 'of which entry of a map')
    .action(action(async () => (await import('./commands/get.js')).get))
  withForm(withRange(reading(program, 'scan')))
    .description('entries in key order')
    .option('--limit <n>', 'at most so many; default 100 on a terminal, else all')
    .action(action(async () => (await import('./commands/scan.js')).scan))
  withRange(reading(program, 'count'))
    .description('how many entries')
    .action(action(async () => (await import('./commands/count.js')).count))
  reading(program, 'stats')
    .alias('top')
    .description('what is large: entries and bytes by state or prefix, times to live, key groups')
    .option('--separator <text>', 'where the prefix of a plain key ends', ':')
    .option('--top <n>', 'so many of the largest', '10')
    .action(action(async () => (await import('./commands/stats.js')).stats))
  withForm(withRange(reading(program, 'grep')))
    .description('entries whose key or value, as it is shown, has a match')
    .argument('<pattern>', 'a regular expression')
    .option('-i, --ignore-case', 'upper and lower case alike')
    .option('--limit <n>', 'end after so many')
    .action(action(async () => (await import('./commands/grep.js')).grep))
  withForm(withRange(program.command('diff').argument('<path>', CHECKPOINTS)))
    .description('what has changed from one checkpoint to another')
    .argument('<a>', 'the earlier one')
    .argument('<b>', 'the later one')
    .option('--summary', 'only how many')
    .action(action(async () => (await import('./commands/diff.js')).diff))
  withRange(reading(program, 'export'))
    .description('all entries into a file')
    .argument('[file]', 'default: stdout')
    .addOption(
      new Option('--format <format>', 'of the file').choices(['ndjson', 'csv', 'parquet']).default('ndjson'),
    )
    .option('--raw', 'keys and values as they are stored: what holdfast import reads')
    .option('--editable', 'typed lines that holdfast import reads; what JSON cannot hold as it is stored')
    .action(action(async () => (await import('./commands/export.js')).exportEntries))
}

/** What makes or removes checkpoints and stores. */
function addWriting(program: Command, call: Caller): void {
  const change = actionBy(call, true)
  program
    .command('import')
    .description(
      'a new savepoint of the entries in a file, as holdfast export --raw and --editable write them',
    )
    .argument('<file>', 'NDJSON; - is stdin')
    .argument('<path>', 'where the savepoint is made')
    .option('--source <json>', 'the position of the source that it belongs to')
    .option('--dry-run', 'only read the file, and say what the savepoint would hold')
    .action(change(async () => (await import('./commands/import.js')).importEntries))
  program
    .command('edit')
    .description('puts or deletes keys in a new savepoint; what is there stays as it is')
    .argument('<path>', CHECKPOINTS)
    .option('--id <id>', 'the checkpoint to begin with; default: the newest')
    .option('--to <path>', 'where the savepoint is made; default: beside it')
    .option('--put <entry>', 'JSON: key and value, or state, key and value; may be given again', collect, [])
    .option('--delete <entry>', 'JSON: key, or state and key; may be given again', collect, [])
    .option('--dry-run', 'only show what would change')
    .action(change(async () => (await import('./commands/edit.js')).edit))
  program
    .command('copy')
    .description('checkpoints into another directory: only what is missing there, verified')
    .argument('<from>', CHECKPOINTS)
    .argument('<to>', 'the other directory')
    .option('--id <id>', 'only this one; default: all')
    .option('--dry-run', 'only show what would be copied')
    .action(change(async () => (await import('./commands/copy.js')).copy))
  program
    .command('prune')
    .description('removes old checkpoints; savepoints stay. Shows what it would do; --yes does it')
    .argument('<path>', CHECKPOINTS)
    .option('--keep <n>', 'so many of the newest checkpoints stay', '10')
    .option('--yes', 'remove them')
    .action(change(async () => (await import('./commands/prune.js')).prune))
  program
    .command('repair')
    .description(
      'saves what can be read of a damaged checkpoint into a new savepoint, and tells what is lost',
    )
    .argument('<path>', CHECKPOINTS)
    .argument('[id]', 'the checkpoint; default: the newest')
    .option('--to <path>', 'where the savepoint is made')
    .option('--dry-run', 'only tell what can be saved, and what is lost')
    .action(change(async () => (await import('./commands/repair.js')).repair))
  program
    .command('drill')
    .description('restores a checkpoint into a scratch engine, compares it, and measures the time')
    .argument('<path>', CHECKPOINTS)
    .argument('[id]', 'the checkpoint; default: the newest')
    .addOption(
      new Option('--engine <engine>', 'to restore into: a store among temporary files, or memory')
        .choices(['lmdb', 'memory'])
        .default('lmdb'),
    )
    .option('--max-seconds <n>', 'a longer restore is a finding')
    .option('--max-age-hours <n>', 'an older checkpoint is a finding')
    .action(change(async () => (await import('./commands/drill.js')).drill))
  program
    .command('restore')
    .description('a new store of the LMDB engine with the entries of a checkpoint')
    .argument('<path>', CHECKPOINTS)
    .argument('[id]', 'the checkpoint; default: the newest')
    .requiredOption('--to <directory>', 'the store, which is not there yet')
    .option('--dry-run', 'only say what would be restored')
    .action(change(async () => (await import('./commands/restore.js')).restore))
}

/** What is about the machine, a place for checkpoints, or the command line itself. */
function addOthers(program: Command, call: Caller): void {
  const action = actionBy(call, false)
  program
    .command('bench')
    .description('measures both engines and checkpoints on the disk of a directory, and leaves nothing there')
    .argument('[directory]', 'where the disk is measured; default: that of temporary files')
    .option('--entries <n>', 'at most so many, of 15 bytes of key and 100 of value', '200000')
    .option('--seconds <n>', 'puts, gets and scans end after so long each', '3')
    .action(action(async () => (await import('./commands/bench.js')).bench))
  program
    .command('doctor')
    .description('looks at the file system, permissions, leases, the clock, versions')
    .argument('[path]', PATH)
    .action(action(async () => (await import('./commands/doctor.js')).doctor))
  program
    .command('ui')
    .description('serves a page for looking into checkpoints and stores, on this machine only, until Ctrl-C')
    .argument('<paths...>', PATH)
    .option('--port <n>', 'where it listens; default: any port that is free', '0')
    .action(action(async () => (await import('./commands/ui.js')).ui))
  program
    .command('storage')
    .description('storages for checkpoints')
    .command('check')
    .description(
      'asks an object store whether it keeps the conditions that fencing rests on; writes and removes objects there',
    )
    .argument('<address>', 's3://bucket/prefix')
    .action(action(async () => (await import('./commands/storage-check.js')).storageCheck))
  program
    .command('completion')
    .description('prints a script that completes commands and options')
    .argument('<shell>', 'bash, zsh or fish')
    .action(
      action(
        async () => async (context, shell: string) =>
          await (await import('./commands/completion.js')).completion(context, program, shell),
      ),
    )
}

/** A command that reads one checkpoint, or a store. */
function reading(program: Command, name: string): Command {
  return program
    .command(name)
    .argument('<path>', PATH)
    .addOption(new Option('--id <id>', 'the checkpoint; default: the newest'))
}

function withRange(command: Command): Command {
  return command
    .option('--state <name>', 'only the entries of a state')
    .option('--prefix <key>', 'only keys that start with it: text, or 0x and hexadecimal digits')
    .option('--from <key>', 'from this key on')
    .option('--to <key>', 'up to, and without, this key')
}

function withForm(command: Command): Command {
  return command.option('--show <form>', 'auto (typed, or text, or hexadecimal), text, hex, json', 'auto')
}

const collect = (value: string, earlier: readonly string[]): string[] => [...earlier, value]
