// Whether a program fits what is recorded: decided from the two schemas alone, before anything changes.

import type { JsonValue } from '../../base/json.js'
import type { StateDefinition } from '../kinds/definitions.js'
import { resolveSteps } from '../kinds/migration.js'
import type { StateSchema } from './define-state.js'
import type {
  RecordedForm,
  RecordedGeneration,
  RecordedIndex,
  RecordedSchema,
  RecordedState,
} from './recorded-schema.js'
import { describeState, isStamped, STORE_FORMAT } from './recorded-schema.js'

/** Why a program does not fit. */
export interface SchemaConflict {
  /** The state, or the store. */
  readonly what: string
  readonly recorded: string
  readonly program: string
  /** What to write so that it fits. */
  readonly remedy: string
}

/** What opening does to one state. */
export interface StateChange {
  readonly name: string
  readonly action: 'add' | 'keep' | 'migrate' | 'drop'
  /** The name that it had, where that was another one. */
  readonly renamedFrom?: string
  readonly fromVersion?: number
  readonly toVersion?: number
  /** Whether opening must do the migration, because reads cannot: of kinds, of map keys, of keys. */
  readonly atOpening: boolean
}

export interface SchemaPlan {
  readonly conflicts: readonly SchemaConflict[]
  readonly changes: readonly StateChange[]
  /** What the store says of itself once it is opened by the program. */
  readonly next: RecordedSchema
  /** Whether the record changes. */
  readonly isChanged: boolean
}

/** What opening a store with a program means; `recorded` is `undefined` for one that is empty. */
export function planSchema(schema: StateSchema, recorded: RecordedSchema | undefined): SchemaPlan {
  const conflicts: SchemaConflict[] = []
  const changes: StateChange[] = []
  const byName = new Map((recorded?.states ?? []).map((state) => [state.name, state]))
  const isRekeyed = recorded !== undefined && versionOfKey(recorded) < schema.keyVersion
  if (recorded !== undefined) conflicts.push(...storeConflicts(schema, recorded))
  const ids = new Ids(recorded?.nextId ?? 1)
  const droppingIndexes: number[] = [...(recorded?.droppingIndexes ?? [])]
  const states: RecordedState[] = []
  for (const [name, definition] of Object.entries(schema.states)) {
    const formerName = [name, ...definition.renamedFrom].find((each) => byName.has(each))
    const before = formerName === undefined ? undefined : byName.get(formerName)
    if (formerName !== undefined) byName.delete(formerName)
    const planned = planState(
      name,
      definition,
      before,
      recorded !== undefined && isRekeyed && definition.key === undefined ? recorded.key : undefined,
      ids,
    )
    conflicts.push(...planned.conflicts)
    states.push(planned.state)
    changes.push(planned.change)
    const kept = new Set((planned.state.indexes ?? []).map(({ id }) => id))
    for (const { id } of before?.indexes ?? []) if (!kept.has(id)) droppingIndexes.push(id)
  }
  if (recorded !== undefined) conflicts.push(...unfinishedRekeying(schema, recorded))
  const dropping = [...(recorded?.dropping ?? [])]
  for (const { id, name, former = [], indexes = [] } of byName.values()) {
    if (schema.drop.includes(name)) {
      dropping.push(id, ...former.map((generation) => generation.id))
      droppingIndexes.push(...indexes.map((index) => index.id))
      changes.push({ name, action: 'drop', atOpening: true })
      continue
    }
    conflicts.push(missingState(name))
  }
  const next = {
    format: STORE_FORMAT,
    keyGroups: schema.keyGroups,
    key: schema.key.descriptor,
    ...(schema.keyVersion === 1 ? {} : { keyVersion: schema.keyVersion }),
    nextId: ids.next,
    states,
    dropping,
    ...(droppingIndexes.length === 0 ? {} : { droppingIndexes }),
  }
  const isChanged = recorded === undefined || canonical(asJson(recorded)) !== canonical(asJson(next))
  return { conflicts, changes, next, isChanged }
}

/** A migration of keys that was interrupted goes on only by the same `migrateKey`. */
function unfinishedRekeying(schema: StateSchema, recorded: RecordedSchema): SchemaConflict[] {
  const isHalfRekeyed = recorded.states.some(({ former = [] }) => former.some(({ key }) => key !== undefined))
  if (!isHalfRekeyed || schema.migrateKey !== undefined) return []
  return [
    {
      what: 'the key',
      recorded: 'a migration of keys that was not finished',
      program: 'no migrateKey',
      remedy: 'write the same migrateKey again until it is done',
    },
  ]
}

function missingState(name: string): SchemaConflict {
  return {
    what: `state '${name}'`,
    recorded: 'it is in the store',
    program: 'it is not in the schema',
    remedy: `put it back, write renamedFrom: '${name}' where it has another name now, or remove its entries with drop: ['${name}']; an older program cannot open the store`,
  }
}

/** Whether a program that only reads finds recorded what it goes by: earlier versions have recorded less of windows. */
export function isRecordedForReading(recorded: RecordedSchema, next: RecordedSchema): boolean {
  const known = (schema: RecordedSchema) => ({
    ...schema,
    states: schema.states.map((state) => {
      if (!isTagged(state.codec, 'windows')) return state
      const { aggregate: _, panes: __, ...codec } = state.codec
      return { ...state, codec }
    }),
  })
  return canonical(asJson(known(recorded))) === canonical(asJson(known(next)))
}

class Ids {
  next: number

  constructor(next: number) {
    this.next = next
  }

  take(): number {
    return this.next++
  }
}

interface PlannedState {
  readonly state: RecordedState
  readonly change: StateChange
  readonly conflicts: readonly SchemaConflict[]
}

function planState(
  name: string,
  definition: StateDefinition,
  before: RecordedState | undefined,
  keyBefore: JsonValue | undefined,
  ids: Ids,
): PlannedState {
  const { version } = definition
  if (before === undefined) {
    const state = withIndexes(describeState(ids.take(), name, definition), definition, 'new', ids)
    return { state, change: { name, action: 'add', toVersion: version, atOpening: false }, conflicts: [] }
  }
  const described = describeState(before.id, name, definition)
  const renamed = before.name === name ? {} : { renamedFrom: before.name }
  const fromVersion = versionOf(before)
  const isNewForm =
    fromVersion < version || keyBefore !== undefined || isStamped(before) !== isStamped(described)
  const former = (before.former ?? []).map((generation) =>
    keyBefore === undefined || generation.key !== undefined ? generation : { ...generation, key: keyBefore },
  )
  const conflicts = isNewForm
    ? generationConflicts(name, definition, before)
    : formConflicts(before, described, definition)
  conflicts.push(...ownKeyConflicts(before, described))
  conflicts.push(...former.flatMap((generation) => generationConflicts(name, definition, generation)))
  const generations = isNewForm ? [generationOf(before, keyBefore), ...former] : former
  const isWholeOne = conflicts.length === 0 && generations.some((each) => isWhole(definition, each))
  if (isWholeOne && generations.length > 1) {
    conflicts.push({
      what: `state '${name}'`,
      recorded: `versions ${generations.map(versionOf).join(' and ')}`,
      program: `version ${version}, of another kind, map key or key`,
      remedy: `open it with a program of version ${fromVersion} and call migrate() there first`,
    })
  }
  const isTtlChanged = before.ttlChanged === true || !isSameTtl(before, described)
  const state = withIndexes(
    {
      ...described,
      ...(isNewForm ? { id: ids.take() } : {}),
      ...(isTtlChanged ? { ttlChanged: true as const } : {}),
      ...(generations.length === 0 ? {} : { former: generations }),
    },
    definition,
    isNewForm ? [] : (before.indexes ?? []),
    ids,
  )
  const atOpening = isWholeOne && conflicts.length === 0
  const action = generations.length > 0 ? 'migrate' : 'keep'
  return {
    state,
    change: { name, action, ...renamed, fromVersion, toVersion: version, atOpening },
    conflicts,
  }
}

function generationOf(before: RecordedState, key: JsonValue | undefined): RecordedGeneration {
  const { id, kind, codec, mapKey, ttl } = before
  return {
    id,
    version: versionOf(before),
    kind,
    codec,
    ...(mapKey === undefined ? {} : { mapKey }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(key === undefined ? {} : { key }),
  }
}

/** Whether entries of a former generation can only be migrated with all that is under their key. */
export function isWhole(definition: StateDefinition, former: RecordedGeneration): boolean {
  if (former.key !== undefined) return true
  return stepsFrom(definition, versionOf(former)).some((step) => step.isWhole)
}

/** Whether a state has what only opening can migrate. */
export function migratesAnything(definition: StateDefinition, { former = [] }: RecordedState): boolean {
  return former.some((generation) => isWhole(definition, generation))
}

/** The steps from a version to the present one. */
export function stepsFrom(definition: StateDefinition, version: number): ReturnType<typeof resolveSteps> {
  const steps = resolveSteps(definition)
  return steps.slice(version - (definition.version - steps.length))
}

function withIndexes(
  state: RecordedState,
  definition: StateDefinition,
  before: readonly RecordedIndex[] | 'new',
  ids: Ids,
): RecordedState {
  const indexes = Object.entries(definition.indexes).map(([name, { codec, version }]): RecordedIndex => {
    const same = (before === 'new' ? [] : before).find(
      (index) =>
        index.name === name &&
        index.version === version &&
        canonical(index.codec) === canonical(codec.descriptor),
    )
    // Of a new state there is nothing that could be missing.
    return (
      same ?? {
        id: ids.take(),
        name,
        codec: codec.descriptor,
        version,
        built: before === 'new',
      }
    )
  })
  return indexes.length === 0 ? state : { ...state, indexes }
}

function storeConflicts(schema: StateSchema, recorded: RecordedSchema): SchemaConflict[] {
  const conflicts: SchemaConflict[] = []
  const before = versionOfKey(recorded)
  const { keyVersion, migrateKey } = schema
  const expected = before < keyVersion ? migrateKey?.from.descriptor : schema.key.descriptor
  if (
    before > keyVersion ||
    before < keyVersion - 1 ||
    expected === undefined ||
    !isCompatible(recorded.key, expected, 'part')
  ) {
    conflicts.push({
      what: 'the key',
      recorded: `${shown(recorded.key)}, version ${before}`,
      program: `${shown(schema.key.descriptor)}, version ${keyVersion}`,
      remedy:
        before > keyVersion
          ? 'the store was written by a newer program: use that one'
          : `write key: ${shown(recorded.key)} again, or migrateKey: fromKey(${shown(recorded.key)}, (key) => …)`,
    })
  }
  if (schema.keyGroups !== recorded.keyGroups) {
    conflicts.push({
      what: 'the number of key groups',
      recorded: String(recorded.keyGroups),
      program: String(schema.keyGroups),
      remedy: `write keyGroups: ${recorded.keyGroups}; it is fixed for the life of a store`,
    })
  }
  return conflicts
}

const versionOf = ({ version = 1 }: { readonly version?: number }): number => version
const versionOfKey = ({ keyVersion = 1 }: { readonly keyVersion?: number }): number => keyVersion

const isSameTtl = (before: RecordedForm, after: RecordedForm): boolean =>
  before.ttl?.afterMs === after.ttl?.afterMs && before.ttl?.time === after.ttl?.time

const isOneValue = (kind: string): boolean => kind !== 'list' && kind !== 'map'

/** Whether what an earlier form has written can be migrated to what the program has. */
function generationConflicts(
  name: string,
  definition: StateDefinition,
  former: RecordedForm,
): SchemaConflict[] {
  const what = `state '${name}'`
  const version = versionOf(former)
  const program = `version ${definition.version}`
  if (version > definition.version) {
    const remedy = 'the store was written by a newer program: use that one'
    return [{ what, recorded: `version ${version}`, program, remedy }]
  }
  const oldest = definition.version - definition.migrations.length
  if (version < oldest) {
    const remedy = `open it with a program that has migrations from version ${version} and call migrate() there first`
    return [
      {
        what,
        recorded: `version ${version}`,
        program: `${program}, with migrations from version ${oldest}`,
        remedy,
      },
    ]
  }
  const [step] = stepsFrom(definition, version)
  const form = step ?? definition
  const mapKey = form.mapKey?.descriptor ?? null
  const fits =
    (former.kind === form.kind || (isOneValue(former.kind) && isOneValue(form.kind))) &&
    isCompatible(former.codec, form.codec.descriptor, 'whole') &&
    isCompatible(former.mapKey ?? null, mapKey, 'part')
  if (fits) return []
  return [
    {
      what,
      recorded: `${shownForm(former)} of version ${version}`,
      program:
        step === undefined ? shownForm(described(form)) : `a migration from ${shownForm(described(form))}`,
      remedy: `write migrations: [from(${shownForm(former)}, (old) => …), …]`,
    },
  ]
}

const described = ({
  kind,
  codec,
  mapKey,
}: Pick<StateDefinition, 'kind' | 'codec'> & {
  readonly mapKey: { readonly descriptor: JsonValue } | undefined
}): Pick<RecordedForm, 'kind' | 'codec' | 'mapKey'> => ({
  kind,
  codec: codec.descriptor,
  ...(mapKey === undefined ? {} : { mapKey: mapKey.descriptor }),
})

const shownForm = ({ kind, codec, mapKey }: Pick<RecordedForm, 'kind' | 'codec' | 'mapKey'>): string =>
  `${kind}(${mapKey === undefined ? '' : `${shown(mapKey)}, `}${shown(codec)})`

/** A state that has a key of its own keeps it: what changes the key of a store does not reach it. */
function ownKeyConflicts(before: RecordedState, after: RecordedState): SchemaConflict[] {
  if (isCompatible(before.key ?? null, after.key ?? null, 'part')) return []
  const ofStore = 'the key of the store'
  return [
    {
      what: `state '${after.name}'`,
      recorded: `key ${before.key === undefined ? ofStore : shown(before.key)}`,
      program: `key ${after.key === undefined ? ofStore : shown(after.key)}`,
      remedy: 'key it as before, or give the new state, or its stage, another name',
    },
  ]
}

/** States of open windows cannot be migrated, but are soon empty. */
function windowConflicts(what: string, before: RecordedState, after: RecordedState): SchemaConflict[] {
  const isSame =
    before.kind === after.kind &&
    isTagged(before.codec, 'windows') &&
    isTagged(after.codec, 'windows') &&
    isSameWindows(before.codec, after.codec)
  if (isSame) return []
  const form = ({ kind, codec }: RecordedState) =>
    isTagged(codec, 'windows') ? `${kind} of ${shown(codec)}` : `kind ${kind}`
  const remedy =
    'open windows are kept in another form where their kind, their aggregate, their panes, or whether they take late events or give early results differs: let the old program end with stop({ drain: true }) and drop them, or give the new windows another name'
  return [{ what, recorded: form(before), program: form(after), remedy }]
}

/** Earlier versions have recorded neither the aggregate nor whether results are discarding. */
function isSameWindows(
  { aggregate: before, panes: panesBefore, ...rest }: Tagged,
  { aggregate: after, panes: panesAfter, ...others }: Tagged,
): boolean {
  const isSamePanes = panesBefore === undefined || panesAfter === undefined || panesBefore === panesAfter
  const isSameForm = canonical(rest as JsonValue) === canonical(others as JsonValue)
  return isSamePanes && isSameForm && isSameAggregate(before, after)
}

function isSameAggregate(before: JsonValue | undefined, after: JsonValue | undefined): boolean {
  return (
    before === undefined || after === undefined || before === after || withoutCodecs(`${after}`) === before
  )
}

/** What the name of such an aggregate of windows begins with; the descriptor of its codec follows. */
export const APPROXIMATE_DISTINCT_COUNT = 'approximateDistinctCount of '

/** As earlier versions have named it, to whom an approximate count of distinct values, of whatever codec, had no name. */
function withoutCodecs(aggregate: string): string {
  const [first, ...named] = aggregate.split(APPROXIMATE_DISTINCT_COUNT)
  return first + named.map((text) => `own${text.slice(endOfJson(text))}`).join('')
}

/** Where the object or string ends that a text begins with: no beginning of either is JSON. */
function endOfJson(text: string): number {
  for (let end = 1; end <= text.length; end++) if (isJson(text.slice(0, end))) return end
  return 0
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Whether what is stored in one form can be read in another one of the same version. */
function formConflicts(
  before: RecordedState,
  after: RecordedState,
  definition: StateDefinition,
): SchemaConflict[] {
  const what = `state '${after.name}'`
  if (isTagged(before.codec, 'windows') || isTagged(after.codec, 'windows')) {
    return windowConflicts(what, before, after)
  }
  const step = `version: ${definition.version + 1}, migrations: [from(${shownForm(before)}, (old) => …)]`
  const otherwise = `, write ${step}, or give the new state another name`
  if (versionOf(before) > definition.version) {
    const remedy = 'the store was written by a newer program: use that one'
    return [
      { what, recorded: `version ${versionOf(before)}`, program: `version ${definition.version}`, remedy },
    ]
  }
  if (before.kind !== after.kind) {
    const remedy = `write ${before.kind}(…) again${otherwise}`
    return [{ what, recorded: `kind ${before.kind}`, program: `kind ${after.kind}`, remedy }]
  }
  const conflicts: SchemaConflict[] = []
  const keyBefore = before.mapKey ?? null
  const keyAfter = after.mapKey ?? null
  if (!isCompatible(keyBefore, keyAfter, 'part')) {
    conflicts.push({
      what,
      recorded: `map key ${shown(keyBefore)}`,
      program: `map key ${shown(keyAfter)}`,
      remedy: `write the map key ${shown(keyBefore)} again${otherwise}`,
    })
  }
  if (!isCompatible(before.codec, after.codec, 'whole')) {
    const remedy = isGrown(after.codec, before.codec)
      ? 'the store was written by a newer program: use that one, or add the missing fields or names at the end'
      : `write ${shown(before.codec)} again (fields of a struct and names of an enumeration may be appended)${otherwise}`
    conflicts.push({ what, recorded: shown(before.codec), program: shown(after.codec), remedy })
  }
  return conflicts
}

/**
 * Whether what was written with one descriptor can be read with another: equal ones, an enumeration with names appended, and,
 * where it is the whole value, a struct with fields appended.
 */
function isCompatible(before: JsonValue, after: JsonValue, extent: 'whole' | 'part'): boolean {
  if (canonical(before) === canonical(after)) return true
  const names = membersOf(before, after, 'enum')
  if (names !== undefined) return isHead(names[0], names[1], (left, right) => left === right)
  const fields = membersOf(before, after, 'struct')
  if (fields !== undefined) {
    const grows = fields[1].length > fields[0].length
    if (grows && extent === 'part') return false
    return isHead(fields[0], fields[1], isSameField)
  }
  const parts = membersOf(before, after, 'tuple')
  if (parts !== undefined) {
    const sameLength = parts[0].length === parts[1].length
    return sameLength && isHead(parts[0], parts[1], (left, right) => isCompatible(left, right, 'part'))
  }
  if (isTagged(before, 'optional') && isTagged(after, 'optional')) {
    return isCompatible(before['optional'] ?? null, after['optional'] ?? null, 'part')
  }
  return false
}

const isSameField = (before: JsonValue, after: JsonValue): boolean => {
  if (!Array.isArray(before) || !Array.isArray(after)) return false
  const [nameBefore = null, codecBefore = null] = before as readonly JsonValue[]
  const [nameAfter = null, codecAfter = null] = after as readonly JsonValue[]
  return nameBefore === nameAfter && isCompatible(codecBefore, codecAfter, 'part')
}

/** Whether the store has what the program lacks: it was written by a newer one. */
const isGrown = (program: JsonValue, stored: JsonValue): boolean => isCompatible(program, stored, 'whole')

type Tagged = { readonly [tag: string]: JsonValue }

function isTagged(descriptor: JsonValue, tag: string): descriptor is Tagged {
  return (
    typeof descriptor === 'object' && descriptor !== null && !Array.isArray(descriptor) && tag in descriptor
  )
}

function membersOf(
  before: JsonValue,
  after: JsonValue,
  tag: string,
): readonly [readonly JsonValue[], readonly JsonValue[]] | undefined {
  if (!isTagged(before, tag) || !isTagged(after, tag)) return undefined
  const left = before[tag]
  const right = after[tag]
  return Array.isArray(left) && Array.isArray(right) ? [left, right] : undefined
}

function isHead(
  head: readonly JsonValue[],
  whole: readonly JsonValue[],
  isSame: (left: JsonValue, right: JsonValue) => boolean,
): boolean {
  return head.length <= whole.length && head.every((left, i) => isSame(left, whole[i] as JsonValue))
}

const asJson = (schema: RecordedSchema): JsonValue => JSON.parse(JSON.stringify(schema)) as JsonValue

/** JSON with the properties in order: equal texts mean equal values. */
function canonical(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const properties = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1))
  return `{${properties.map(([name, item]) => `${JSON.stringify(name)}:${canonical(item as JsonValue)}`).join(',')}}`
}

/** A descriptor as it would be written in a program. */
export function shown(descriptor: JsonValue): string {
  if (typeof descriptor !== 'object' || descriptor === null) return String(descriptor)
  if (isTagged(descriptor, 'optional')) return `optional(${shown(descriptor['optional'] ?? null)})`
  if (isTagged(descriptor, 'tuple')) return `tuple(${list(descriptor['tuple']).map(shown).join(', ')})`
  if (isTagged(descriptor, 'enum'))
    return `enumeration(${list(descriptor['enum'])
      .map((name) => `'${String(name)}'`)
      .join(', ')})`
  if (isTagged(descriptor, 'struct')) {
    const fields = list(descriptor['struct']).map((field) => {
      const [name = null, codec = null] = list(field)
      return `${String(name)}: ${shown(codec)}`
    })
    return `struct({ ${fields.join(', ')} })`
  }
  return JSON.stringify(descriptor)
}

const list = (value: JsonValue | undefined): readonly JsonValue[] => (Array.isArray(value) ? value : [])
