import { type JsonValue, systemClock } from '../../index.js'
import { describe, type RecordedSchema } from '../../state.js'
import { openEntries, recordedIn } from '../../view/entries.js'
import { type CheckpointPlace, chosenCheckpoint, openPlace, type StorePlace } from '../../view/place.js'
import type { CommandContext } from '../context.js'
import { toldBy } from '../newer.js'
import { ExitStatus } from '../outcome.js'
import type { Terminal } from '../terminal.js'
import { bytesText, countText, durationText, manyText, timeText } from '../units.js'

/** What a checkpoint, or a store, says of itself. */
export async function inspect({ terminal }: CommandContext, path: string, id?: string): Promise<number> {
  const place = await openPlace(path)
  if (place.kind === 'store') await inspectStore(terminal, place)
  else await inspectCheckpoint(terminal, place, id)
  return ExitStatus.ok
}

async function inspectCheckpoint(
  terminal: Terminal,
  place: CheckpointPlace,
  id: string | undefined,
): Promise<void> {
  const checkpoint = await chosenCheckpoint(place, id, toldBy(terminal))
  const manifest = await place.archive.manifest(checkpoint.id)
  const { schema } = manifest
  const recorded = schema === undefined ? undefined : recordedIn(schema)
  if (terminal.json) {
    await terminal.object(
      JSON.parse(JSON.stringify({ ...manifest, sizeBytes: checkpoint.sizeBytes })) as JsonValue,
    )
    return
  }
  const { createdAt, kind, savepoint, backend, compression, clockMs, segments, holdfast, source } = manifest
  await terminal.fields([
    ['checkpoint', checkpoint.id],
    [
      'made',
      `${timeText(createdAt)} UTC by holdfast ${holdfast}, ${durationText(systemClock.now() - createdAt.getTime())} ago`,
    ],
    ['kind', savepoint ? 'savepoint' : `${kind}, ${manyText(segments.length, 'file', 'files')}`],
    ['engine', backend],
    ['clock', new Date(clockMs).toISOString()],
    ['entries', countText(manifest.entryCount)],
    [
      'size',
      `${bytesText(checkpoint.sizeBytes)} in ${compression}, ${bytesText(rawBytes(segments))} as they were`,
    ],
    ['source', source === undefined ? '(none)' : JSON.stringify(source)],
  ])
  await terminal.line('')
  await terminal.table(
    ['FILE', 'ROLE', 'ENTRIES', 'SIZE', 'SHA-256'],
    segments.map(({ name, role, entryCount, sizeBytes, sha256 }) => [
      name,
      role,
      countText(entryCount),
      bytesText(sizeBytes),
      sha256,
    ]),
  )
  if (recorded !== undefined) await showSchema(terminal, recorded)
}

const rawBytes = (segments: readonly { readonly rawBytes: number }[]): number =>
  segments.reduce((sum, segment) => sum + segment.rawBytes, 0)

async function inspectStore(terminal: Terminal, place: StorePlace): Promise<void> {
  const entries = await openEntries(place, undefined)
  try {
    const { schema, clockMs, entryCount } = entries
    if (terminal.json) {
      const described =
        schema === undefined ? {} : { schema: JSON.parse(JSON.stringify(schema)) as JsonValue }
      await terminal.object({ store: place.path, entryCount, clockMs, ...described })
      return
    }
    await terminal.fields([
      ['store', place.path],
      ['clock', new Date(clockMs).toISOString()],
      ['entries', countText(entryCount)],
    ])
    if (schema !== undefined) await showSchema(terminal, schema)
  } finally {
    await entries.close()
  }
}

async function showSchema(terminal: Terminal, schema: RecordedSchema): Promise<void> {
  const { key, keyGroups, states } = describe(schema)
  await terminal.line('')
  await terminal.line(`keyed by ${key}, in ${countText(keyGroups)} key groups`)
  await terminal.table(
    ['STATE', 'KIND', 'VALUES', 'MAP KEYS', 'VERSION', 'TIME TO LIVE', 'INDICES'],
    states.map(({ name, kind, codec, mapKey = '', version, ttl = '', indexes }) => [
      name,
      kind,
      codec,
      mapKey,
      String(version),
      ttl,
      indexes.join(', '),
    ]),
  )
}
