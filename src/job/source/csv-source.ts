// Records of CSV files. Where a record ends we see ourselves, so that each has a position to go on from; what is in it a library says.

import { rejectViolations, requireSettings, rules, violationsOf } from '../../base/options.js'
import { decodedOr, type FilesOptions, fileRules, filesOf, Undecodable } from './file-source.js'
import type { Source } from './source.js'

/** `parse` of `csv-parse/sync`, as far as it is used here. */
export type ParseCsv = (
  text: string,
  options: {
    readonly bom: boolean
    readonly delimiter: string
    readonly relax_column_count: boolean
    readonly trim: boolean
  },
) => unknown

/** A record: its values under the names of their columns. */
export interface CsvRecord {
  readonly [column: string]: string
}

export interface CsvFilesOptions<Event> extends FilesOptions {
  /** `parse` of `csv-parse/sync`: `import { parse } from 'csv-parse/sync'`. */
  readonly parse: ParseCsv
  /** Names of the columns. Default: the first record of each file has them. */
  readonly columns?: readonly string[]
  /** One character. Default `,`. */
  readonly delimiter?: string
  /** Whether white space around values is dropped. Default false. */
  readonly trim?: boolean
  /** Makes an event of a record. What it throws makes the event a bad one. Default: the record is the event. */
  readonly decode?: (record: CsvRecord) => Event
}

/**
 * Records of CSV files (RFC 4180), each file a partition. A value with a newline, a delimiter or a quote stands in double quotes, in which a
 * quote is doubled. A record with more or fewer values than there are columns is a bad event, as is one that cannot be parsed.
 *
 * @example csvFiles({ parse, paths: ['trips.csv.gz'], decode: ({ id, km }) => ({ id, km: Number(km) }) })
 */
export function csvFiles<Event = CsvRecord>(options: CsvFilesOptions<Event>): Source<Event> {
  rejectViolations(
    violationsOf(options, {
      ...fileRules,
      parse: rules.function,
      columns: (names) =>
        Array.isArray(names) && names.length > 0 && names.every((name) => typeof name === 'string')
          ? undefined
          : 'must be an array of one or more names',
      delimiter: (text) =>
        typeof text === 'string' && text.length === 1 && !'"\r\n'.includes(text)
          ? undefined
          : 'must be one character, and no quote or newline',
      trim: rules.boolean,
      decode: rules.function,
    }),
  )
  requireSettings(options, ['parse', 'paths'])
  const { parse, columns, delimiter = ',', trim = false } = options
  const decode = options.decode ?? ((record: CsvRecord) => record as Event)
  const settings = { bom: true, delimiter, relax_column_count: true, trim }
  const valuesOf = (lines: readonly string[]) =>
    parse(`${lines.join('\n')}\n`, settings) as readonly (readonly string[])[]
  const one = (line: string): readonly string[] => {
    const [values, ...others] = valuesOf([line])
    if (values === undefined || others.length > 0) throw new Error('it is not one record')
    return values
  }
  return filesOf(options, {
    isQuoted: true,
    hasHeader: columns === undefined,
    decode: (lines, header) => {
      const names = columns ?? one(header ?? '')
      return splitAll(lines, valuesOf, one).map((values) => {
        if (values instanceof Undecodable) return values
        return decodedOr(() => decode(recordOf(names, values)))
      })
    },
  })
}

/** The values of each record: of all together where every one is right, as that is several times faster. */
function splitAll(
  lines: readonly string[],
  all: (lines: readonly string[]) => readonly (readonly string[])[],
  one: (line: string) => readonly string[],
): readonly (readonly string[] | Undecodable)[] {
  const together = decodedOr(() => all(lines))
  if (!(together instanceof Undecodable) && together.length === lines.length) return together
  return lines.map((line) => decodedOr(() => one(line)))
}

function recordOf(names: readonly string[], values: readonly string[]): CsvRecord {
  if (values.length !== names.length) {
    throw new Error(`it has ${values.length} values, and there are ${names.length} columns`)
  }
  // Not by assignment: a column may be called `__proto__`.
  return Object.fromEntries(names.map((name, i) => [name, values[i] as string]))
}
