// The schema as a file beside the program (`holdfast.schema.json`), so that an incompatible change fails the pull request and
// not the restore.

import { StateError } from '../../base/errors.js'
import { invalidArgument, requireSettings } from '../../base/options.js'
import { planSchema } from './compare-schema.js'
import type { StateSchema } from './define-state.js'
import { recordOf } from './describe.js'
import { incompatible } from './open-schema.js'
import { decodeSchema } from './recorded-schema.js'

/**
 * What to write into the schema file: JSON, the same text for the same schema. It is to be written anew by whoever changes the
 * schema, and committed with the change.
 *
 * @example await writeFile('holdfast.schema.json', schemaFile(schema))
 */
export function schemaFile(schema: StateSchema): string {
  requireSettings(schema, ['key', 'states'], 'schema')
  return `${JSON.stringify(recordOf(schema), null, 2)}\n`
}

/**
 * Compares a schema with the file of it, in a test: `INCOMPATIBLE` where a store of the version in the file could not be opened, with
 * every state that differs and what to write; also where it could, but the file was not written anew.
 *
 * @example it('opens what is in production', async () => checkSchema(schema, await readFile('holdfast.schema.json', 'utf8')))
 */
export function checkSchema(schema: StateSchema, file: string): void {
  requireSettings(schema, ['key', 'states'], 'schema')
  if (typeof file !== 'string') throw invalidArgument('file', 'must be the text of a schema file')
  const { conflicts } = planSchema(schema, decodeSchema(new Uint8Array(Buffer.from(file))))
  if (conflicts.length > 0) throw incompatible(conflicts)
  const now = schemaFile(schema)
  if (file === now) return
  throw new StateError('INCOMPATIBLE', {
    what: 'the schema file',
    found: 'another schema, whose stores this one opens',
    supported:
      'the schema of the program: write the file anew with schemaFile(schema), and commit it with the change',
  })
}
