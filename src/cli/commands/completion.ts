import type { Command } from 'commander'
import { UsageError } from '../../view/usage-error.js'
import type { CommandContext } from '../context.js'
import { ExitStatus } from '../outcome.js'

interface CommandWords {
  readonly name: string
  readonly description: string
  readonly options: readonly { readonly flag: string; readonly description: string }[]
}

/** A script for a shell, made of the commands as they are: `source <(holdfast completion bash)`. */
export async function completion(
  { terminal }: CommandContext,
  program: Command,
  shell: string,
): Promise<number> {
  const make = SHELLS[shell]
  if (make === undefined)
    throw new UsageError(`there are completions for ${Object.keys(SHELLS).join(', ')}; not for ${shell}`)
  for (const line of make(program.commands.map((command) => wordsOf(command, program))))
    await terminal.line(line)
  return ExitStatus.ok
}

function wordsOf(command: Command, program: Command): CommandWords {
  const options = [...command.options, ...program.options]
    .filter(({ long }) => long !== undefined && long !== null)
    .map(({ long, description }) => ({ flag: String(long), description }))
  return { name: command.name(), description: command.description(), options }
}

const SHELLS: { readonly [shell: string]: (commands: readonly CommandWords[]) => string[] } = {
  bash: (commands) => [
    '_holdfast() {',
    '  local word="${COMP_WORDS[COMP_CWORD]}" words=""',
    '  if [ "$COMP_CWORD" -eq 1 ]; then',
    `    words="${commands.map(({ name }) => name).join(' ')}"`,
    '  elif [[ "$word" == -* ]]; then',
    '    case "${COMP_WORDS[1]}" in',
    ...commands.map(
      ({ name, options }) => `      ${name}) words="${options.map(({ flag }) => flag).join(' ')}" ;;`,
    ),
    '    esac',
    '  fi',
    '  if [ -n "$words" ]; then mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")',
    '  else mapfile -t COMPREPLY < <(compgen -f -- "$word"); fi',
    '}',
    'complete -o filenames -F _holdfast holdfast',
  ],
  zsh: (commands) => [
    '#compdef holdfast',
    '_holdfast() {',
    '  if (( CURRENT == 2 )); then',
    `    local -a commands=(${commands.map(({ name, description }) => quoted(`${name}:${description}`)).join(' ')})`,
    "    _describe 'command' commands",
    '    return',
    '  fi',
    '  case "$words[2]" in',
    ...commands.map(
      ({ name, options }) =>
        `    ${name}) _arguments ${options.map(({ flag, description }) => quoted(`${flag}[${description.replaceAll(/[[\]]/g, '')}]`)).join(' ')} '*:file:_files' ;;`,
    ),
    '  esac',
    '}',
    'compdef _holdfast holdfast',
  ],
  fish: (commands) =>
    commands.flatMap(({ name, description, options }) => [
      `complete -c holdfast -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
      ...options.map(
        ({ flag, description: text }) =>
          `complete -c holdfast -n '__fish_seen_subcommand_from ${name}' -l ${flag.slice(2)} -d ${quoted(text)}`,
      ),
    ]),
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
