// Tables of entries as CSV and Parquet, a piece at a time.

import { asCell, type ShownEntry } from '../view/shown-entry.js'
import type { Column, ColumnType } from './columns.js'
import type { Output } from './output-file.js'

export interface TableWriter {
  rows(entries: readonly ShownEntry[]): Promise<void>
  end(): Promise<void>
}

/** RFC 4180, with a line of names. */
export async function csvWriter(output: Output, columns: readonly Column[]): Promise<TableWriter> {
  const { stringify } = await import('csv-stringify/sync')
  await output.write(stringify([columns.map(({ name }) => name)]))
  return {
    rows: async (entries) => {
      const rows = entries.map((entry) => columns.map(({ valueOf }) => csvCell(valueOf(entry))))
      await output.write(stringify(rows))
    },
    end: async () => {},
  }
}

/** As in tables, but with line breaks, which CSV quotes. */
const csvCell = (value: ReturnType<Column['valueOf']>): string =>
  typeof value === 'string' ? value : asCell(value)

/** Apache Parquet: typed columns, a row group for each piece. */
export async function parquetWriter(output: Output, columns: readonly Column[]): Promise<TableWriter> {
  const { ByteWriter, ParquetWriter, schemaFromColumnData } = await import('hyparquet-writer')
  const data = (entries: readonly ShownEntry[]) =>
    columns.map(({ name, type, valueOf }) => ({
      name,
      type: PARQUET_TYPES[type],
      nullable: true,
      // The least and the largest text of each piece would be kept whole until the end.
      statistics: type !== 'text' && type !== 'json',
      data: entries.map((entry) => parquetValue(type, valueOf(entry))),
    }))
  const bytes = new ByteWriter()
  // What was handed on is forgotten; places in the file go on, as `offset` counts all that was ever written.
  const flush = async () => {
    const piece = new Uint8Array(bytes.getBytes().slice())
    bytes.index = 0
    await output.write(piece)
  }
  const writer = new ParquetWriter({ writer: bytes, schema: schemaFromColumnData({ columnData: data([]) }) })
  return {
    rows: async (entries) => {
      await writer.write({ columnData: data(entries) })
      await flush()
    },
    end: async () => {
      await writer.finish()
      await flush()
    },
  }
}

const PARQUET_TYPES = {
  text: 'STRING',
  json: 'STRING',
  integer: 'INT64',
  number: 'DOUBLE',
  boolean: 'BOOLEAN',
  time: 'TIMESTAMP',
} as const satisfies { readonly [Type in ColumnType]: string }

function parquetValue(type: ColumnType, value: ReturnType<Column['valueOf']>): unknown {
  if (value === undefined || value === null) return null
  switch (type) {
    case 'integer':
      return BigInt(value as number)
    case 'number':
      return Number(value)
    case 'time':
      return new Date(value as string)
    case 'boolean':
      return value
    default:
      return csvCell(value)
  }
}
