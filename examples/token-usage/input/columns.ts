import type { LlmRequest } from '../events.js'
import { InputError, shown } from '../input-error.js'
import { costUsdOf } from '../prices.js'
import type { FileValues } from './record.js'
import { readAmount, readCount, readName, readTimeMs } from './values.js'

/** Which column holds what. A column that is not named has the field's own name, if the file has such a one. */
export interface ColumnNames {
  readonly time?: string
  readonly model?: string
  readonly tenant?: string
  readonly tokensIn?: string
  readonly tokensOut?: string
  readonly cost?: string
  readonly latency?: string
}

type Field = keyof ColumnNames

interface FieldText {
  /** The flag that names the column, and the name it has otherwise. */
  readonly flag: string
  readonly column: string
  readonly title: string
  /** What happens without such a column. */
  readonly absent: string
}

const fields: { readonly [Name in Field]: FieldText } = {
  time: { flag: '--time', column: 'timestampMs', title: 'time', absent: '' },
  model: { flag: '--model', column: 'model', title: 'model', absent: "every request counts as model 'all'" },
  tenant: {
    flag: '--tenant',
    column: 'tenant',
    title: 'tenant',
    absent: "every request counts as tenant 'all'",
  },
  tokensIn: { flag: '--tokens-in', column: 'tokensIn', title: 'tokens in', absent: 'they count as 0' },
  tokensOut: { flag: '--tokens-out', column: 'tokensOut', title: 'tokens out', absent: 'they count as 0' },
  cost: {
    flag: '--cost',
    column: 'costUsd',
    title: 'cost',
    absent: 'taken from prices.ts, 0 for other models',
  },
  latency: { flag: '--latency', column: 'latencyMs', title: 'latency', absent: 'it counts as 0' },
}

/** Finds a column's value in a record. */
type Cell = (values: FileValues) => unknown

/** What became of a record: a request, or a sentence on what is wrong with it. */
type Reading = LlmRequest | string

/** Turns the records of one file into requests. */
export class ColumnMapping {
  /** Which column became which field, for people. */
  readonly description: readonly string[]
  readonly #cells: { readonly [Name in Field]: Cell | undefined }
  readonly #columns: { readonly [Name in Field]: string | undefined }
  /** CSV: every record must have as many cells. */
  readonly #cellCount: number | undefined

  /**
   * `columns` are the names in the CSV header, or those in the first object of an NDJSON file. Throws `InputError` for
   * a named column that is not there, or is there twice.
   */
  constructor(path: string, columns: readonly string[], names: ColumnNames, format: 'csv' | 'ndjson') {
    const find = (field: Field) => findColumn(path, columns, names, field)
    this.#columns = {
      time: find('time'),
      model: find('model'),
      tenant: find('tenant'),
      tokensIn: find('tokensIn'),
      tokensOut: find('tokensOut'),
      cost: find('cost'),
      latency: find('latency'),
    }
    const cell = (field: Field): Cell | undefined => {
      const column = this.#columns[field]
      if (column === undefined) return undefined
      if (format === 'ndjson') return (values) => ownValue(values, column)
      const index = columns.indexOf(column)
      return (values) => (values as readonly string[])[index]
    }
    this.#cells = {
      time: cell('time'),
      model: cell('model'),
      tenant: cell('tenant'),
      tokensIn: cell('tokensIn'),
      tokensOut: cell('tokensOut'),
      cost: cell('cost'),
      latency: cell('latency'),
    }
    this.#cellCount = format === 'csv' ? columns.length : undefined
    this.description = describe(this.#columns)
  }

  read(values: FileValues): Reading {
    if (this.#cellCount !== undefined && values['length'] !== this.#cellCount) {
      return `${values['length']} cells where the header has ${this.#cellCount}`
    }
    const { time, model, tenant, tokensIn, tokensOut, cost, latency } = this.#cells
    const read = {
      timestampMs: time === undefined ? undefined : readTimeMs(time(values)),
      model: model === undefined ? 'all' : readName(model(values)),
      tenant: tenant === undefined ? 'all' : readName(tenant(values)),
      tokensIn: tokensIn === undefined ? 0 : readCount(tokensIn(values)),
      tokensOut: tokensOut === undefined ? 0 : readCount(tokensOut(values)),
      latencyMs: latency === undefined ? 0 : readAmount(latency(values)),
    }
    if (read.timestampMs === undefined) return this.#complain('time', values, 'a time')
    if (read.model === undefined) return this.#complain('model', values, 'a name')
    if (read.tenant === undefined) return this.#complain('tenant', values, 'a name')
    if (read.tokensIn === undefined)
      return this.#complain('tokensIn', values, 'a whole number from 0 to 10^9')
    if (read.tokensOut === undefined)
      return this.#complain('tokensOut', values, 'a whole number from 0 to 10^9')
    if (read.latencyMs === undefined) return this.#complain('latency', values, 'a number from 0 to 10^9')
    const costUsd =
      cost === undefined ? costUsdOf(read.model, read.tokensIn, read.tokensOut) : readAmount(cost(values))
    if (costUsd === undefined) return this.#complain('cost', values, 'a number from 0 to 10^9')
    return { ...(read as LlmRequest), costUsd }
  }

  #complain(field: Field, values: FileValues, expected: string): string {
    const value = this.#cells[field]?.(values)
    return value === undefined
      ? `${this.#columns[field]} is missing`
      : `${this.#columns[field]} is ${shown(value)}, which is not ${expected}`
  }
}

function findColumn(
  path: string,
  columns: readonly string[],
  names: ColumnNames,
  field: Field,
): string | undefined {
  const { flag, column } = fields[field]
  const name = names[field] ?? column
  const found = columns.filter((candidate) => candidate === name).length
  if (found > 1)
    throw new InputError(`${path}: there are ${found} columns named ${shown(name)}; rename all but one`)
  if (found === 1) return name
  if (names[field] === undefined && field !== 'time') return undefined
  const list = columns.map(shown).join(', ')
  throw new InputError(`${path}: no column ${shown(name)}; name one with ${flag}: there are ${list}`)
}

function ownValue(values: FileValues, column: string): unknown {
  return Object.hasOwn(values, column) ? (values as { [column: string]: unknown })[column] : undefined
}

function describe(columns: { readonly [Name in Field]: string | undefined }): string[] {
  return Object.entries(columns).map(([field, column]) => {
    const { title, absent } = fields[field as Field]
    return column === undefined ? `no ${title}: ${absent}` : `${title} from column ${shown(column)}`
  })
}
