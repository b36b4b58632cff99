// The rules that keep the rooms of `src/` apart. Each takes sources and returns what is wrong, one line for each.

import { isBuiltin } from 'node:module'
import ts from 'typescript'
import {
  lineOf,
  nodesOf,
  type Reference,
  referencesOf,
  type SourceFile,
  targetOf,
  tokensOf,
} from './source-file.js'

interface Room {
  /** Other folders, or single files, that this folder may import. */
  readonly rooms: readonly string[] | 'any'
  /** Modules of Node, or `'any'` of them. */
  readonly builtins: readonly string[] | 'any'
  readonly packages: readonly string[]
}

/** Who may import whom (the table of ARCHITECTURE.md). A folder that is not here may not exist. */
const rooms: { readonly [folder: string]: Room } = {
  // Of Node only what finds a file of the package and starts a thread with it.
  base: {
    rooms: [],
    builtins: ['node:diagnostics_channel', 'node:module', 'node:timers', 'node:url', 'node:worker_threads'],
    packages: [],
  },
  backend: { rooms: ['base'], builtins: [], packages: [] },
  codec: { rooms: ['base'], builtins: 'any', packages: ['lz4-napi'] },
  log: { rooms: ['base'], builtins: ['node:crypto', 'node:worker_threads'], packages: [] },
  files: { rooms: ['base'], builtins: 'any', packages: [] },
  storage: { rooms: ['base', 'files'], builtins: 'any', packages: [] },
  bucket: { rooms: ['storage', 'files', 'base'], builtins: 'any', packages: [] },
  s3: { rooms: ['bucket', 'base'], builtins: 'any', packages: [] },
  azure: { rooms: ['bucket', 'base'], builtins: 'any', packages: [] },
  memory: {
    rooms: ['backend', 'log', 'base', 'codec', 'files/zeros.ts'],
    builtins: [],
    packages: [],
  },
  checkpoint: {
    rooms: ['backend', 'codec', 'base', 'storage/checkpoint-storage.ts'],
    builtins: 'any',
    packages: [],
  },
  lmdb: {
    rooms: ['backend', 'log', 'base', 'codec', 'files'],
    builtins: 'any',
    packages: ['lmdb', 'lz4-napi'],
  },
  state: {
    rooms: ['backend', 'base'],
    builtins: ['node:async_hooks', 'node:buffer'],
    packages: ['@msgpack/msgpack'],
  },
  window: { rooms: ['state', 'backend', 'base', 'log/index/key-hash.ts'], builtins: [], packages: [] },
  job: {
    rooms: ['window', 'state', 'checkpoint', 'backend', 'base', 'codec', 'files'],
    builtins: 'any',
    packages: [],
  },
  // Clients are the caller's, so no package is imported: neither by what speaks to servers, nor by the engines and sources on it.
  remote: { rooms: ['base'], builtins: ['node:events'], packages: [] },
  // Of buffers only whether bytes are UTF-8.
  redis: { rooms: ['remote', 'backend', 'base'], builtins: ['node:buffer', 'node:crypto'], packages: [] },
  postgres: { rooms: ['remote', 'backend', 'base'], builtins: ['node:crypto'], packages: [] },
  // One folder for each outside system.
  sources: { rooms: ['job', 'remote', 'base'], builtins: 'any', packages: [] },
  // What lies at a path and how it is shown: what the tools have in common. Tools stand on what everybody can import.
  view: {
    rooms: ['index.ts', 'engine.ts', 'lmdb.ts', 's3.ts', 'state.ts', 'window.ts'],
    builtins: 'any',
    packages: [],
  },
  inspector: {
    rooms: ['view', 'metrics', 'index.ts', 'engine.ts', 'job.ts', 'state.ts'],
    builtins: 'any',
    packages: [],
  },
  cli: {
    rooms: [
      'view',
      'inspector.ts',
      'index.ts',
      'engine.ts',
      'lmdb.ts',
      's3.ts',
      'state.ts',
      'window.ts',
      'checkpoint/format/holdfast-version.ts',
    ],
    builtins: 'any',
    packages: [
      'commander',
      'cli-table3',
      'cli-progress',
      'csv-stringify/sync',
      'hyparquet-writer',
      'lz4-napi',
      'lmdb',
    ],
  },
  metrics: {
    rooms: ['index.ts', 'engine.ts', 'job.ts'],
    builtins: ['node:diagnostics_channel', 'node:perf_hooks'],
    packages: [],
  },
  // What other packages expect of a store, by public exports. Only what is to be extended is imported of them.
  adapters: {
    rooms: ['index.ts', 'engine.ts', 'lmdb.ts'],
    builtins: ['node:fs/promises', 'node:path', 'node:v8'],
    packages: ['abstract-level', 'rate-limiter-flexible'],
  },
  testing: { rooms: 'any', builtins: 'any', packages: [] },
}

/** Files directly in `src/`: what users import. They may gather anything, and nothing imports them. */
const entryFiles: Room = { rooms: 'any', builtins: 'any', packages: [] }

const folderOf = (path: string): string => (path.includes('/') ? path.slice(0, path.indexOf('/')) : '')
const isEntry = (path: string): boolean => folderOf(path) === ''
export const isTest = (path: string): boolean => path.endsWith('.test.ts')
const isRelative = (specifier: string): boolean => /^\.\.?\//.test(specifier)
const at = (source: SourceFile, line: number): string => `${source.path}:${line}`

/** Imports of another folder that the table does not allow. */
export function forbiddenImports(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) => {
    const room = isEntry(source.path) ? entryFiles : rooms[folderOf(source.path)]
    if (room === undefined) return [`${source.path}: no rule for folder ${folderOf(source.path)}`]
    return referencesOf(source).flatMap((reference) => {
      const reason = isRelative(reference.specifier)
        ? forbiddenRoom(source, room, reference)
        : forbiddenModule(room, reference.specifier)
      return reason === undefined ? [] : [`${at(source, reference.line)}: ${reason}`]
    })
  })
}

function forbiddenRoom(source: SourceFile, room: Room, { specifier }: Reference): string | undefined {
  const target = targetOf(source, specifier)
  const folder = folderOf(target)
  if (target.startsWith('..')) return `${specifier} is outside src/`
  if (isTest(target)) return `${specifier} is a test`
  if (folder === '' && !room.rooms.includes(target)) return `${specifier} is an entry file`
  if (folder === folderOf(source.path) || room.rooms === 'any') return undefined
  if (room.rooms.includes(folder) || room.rooms.includes(target)) return undefined
  return `${folderOf(source.path)} may not import ${target}`
}

function forbiddenModule(room: Room, specifier: string): string | undefined {
  // A file of the package itself that is run, not imported: a thread or a process.
  if (specifier.startsWith('#')) return undefined
  if (!isBuiltin(specifier)) {
    return room.packages.includes(specifier) ? undefined : `package ${specifier} is not allowed here`
  }
  if (!specifier.startsWith('node:')) return `${specifier} lacks its node: prefix`
  const allowed = room.builtins === 'any' || room.builtins.includes(specifier)
  return allowed ? undefined : `${specifier} is not allowed here`
}

/** Import cycles, each once, as `a.ts -> b.ts -> a.ts`. Type imports count. */
export function importCycles(sources: readonly SourceFile[]): string[] {
  const edges = new Map(
    sources.map((source) => [
      source.path,
      referencesOf(source)
        .filter(({ specifier }) => isRelative(specifier))
        .map(({ specifier }) => targetOf(source, specifier)),
    ]),
  )
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (path: string, trail: readonly string[]) => {
    const seenAt = trail.indexOf(path)
    if (seenAt !== -1) cycles.push([...trail.slice(seenAt), path].join(' -> '))
    if (seenAt !== -1 || done.has(path)) return
    for (const target of edges.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const path of edges.keys()) visit(path, [])
  return cycles
}

/** Files outside the entry files that pass on what another file exports. */
export function barrels(sources: readonly SourceFile[]): string[] {
  return sources
    .filter((source) => !isEntry(source.path))
    .flatMap((source) => {
      const imported = importedNames(source)
      return source.tree.statements
        .filter(ts.isExportDeclaration)
        .filter((statement) => statement.moduleSpecifier !== undefined || passesOn(statement, imported))
        .map((statement) => `${at(source, lineOf(source, statement))}: ${statement.getText(source.tree)}`)
    })
}

function importedNames(source: SourceFile): Set<string> {
  const names = new Set<string>()
  for (const node of nodesOf(source)) {
    if (ts.isImportSpecifier(node) || ts.isNamespaceImport(node)) names.add(node.name.text)
    if (ts.isImportClause(node) && node.name !== undefined) names.add(node.name.text)
  }
  return names
}

function passesOn(statement: ts.ExportDeclaration, imported: ReadonlySet<string>): boolean {
  const clause = statement.exportClause
  if (clause === undefined || !ts.isNamedExports(clause)) return false
  return clause.elements.some((element) => imported.has((element.propertyName ?? element.name).text))
}

const DIRECTIVE = /@ts-(?:ignore|expect-error|nocheck)|(?:eslint|oxlint|biome)-(?:disable|ignore)/

/** `any`, and comments that tell a checker to look away. */
export function escapes(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) => {
    const anys = nodesOf(source)
      .filter((node) => node.kind === ts.SyntaxKind.AnyKeyword)
      .map((node) => `${at(source, lineOf(source, node))}: any`)
    // Few files have the words anywhere; only of those it matters whether they stand in a comment.
    const comments = DIRECTIVE.test(source.tree.text) ? commentsOf(source) : []
    const directives = comments
      .filter(({ text }) => DIRECTIVE.test(text))
      .map(({ line, text }) => `${source.path}:${line}: ${text}`)
    return [...anys, ...directives]
  })
}

function commentsOf(source: SourceFile): { readonly line: number; readonly text: string }[] {
  const text = source.tree.text
  const starts = new Map<number, number>()
  for (const node of tokensOf(source)) {
    for (const range of ts.getLeadingCommentRanges(text, node.getFullStart()) ?? [])
      starts.set(range.pos, range.end)
    for (const range of ts.getTrailingCommentRanges(text, node.getEnd()) ?? [])
      starts.set(range.pos, range.end)
  }
  return Array.from(starts, ([pos, end]) => ({
    line: source.tree.getLineAndCharacterOfPosition(pos).line + 1,
    text: text.slice(pos, end),
  }))
}

/**
 * Time, timers and chance that do not come from an injected clock or a seed. `allowed` names, for a file, what it may
 * use all the same.
 */
export function ambientSources(
  sources: readonly SourceFile[],
  allowed: { readonly [path: string]: readonly string[] } = {},
): string[] {
  return sources.flatMap((source) =>
    nodesOf(source).flatMap((node) => {
      const used = ambientUse(node)
      if (used === undefined || allowed[source.path]?.includes(used)) return []
      return [`${at(source, lineOf(source, node))}: ${used}`]
    }),
  )
}

const ambientModules = new Set(['node:timers', 'node:timers/promises'])
const ambientFunctions = new Set(['setTimeout', 'setInterval'])

function ambientUse(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return ambientModules.has(node.moduleSpecifier.text) && !importsOnlySetImmediate(node)
      ? node.moduleSpecifier.text
      : undefined
  }
  if (ts.isPropertyAccessExpression(node)) {
    const text = `${node.expression.getText()}.${node.name.text}`
    if (/^(?:globalThis\.)?(?:Date\.now|Math\.random)$/.test(text)) return text.replace('globalThis.', '')
    return node.expression.getText() === 'globalThis' && ambientFunctions.has(node.name.text)
      ? node.name.text
      : undefined
  }
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date') {
    return (node.arguments?.length ?? 0) === 0 ? 'new Date()' : undefined
  }
  if (ts.isCallExpression(node) && ts.isIdentifier(node.expression)) {
    const name = node.expression.text
    if (name === 'Date') return 'Date()'
    return ambientFunctions.has(name) ? name : undefined
  }
  return undefined
}

/** `setImmediate` waits for the event loop, not for time. */
function importsOnlySetImmediate(node: ts.ImportDeclaration): boolean {
  const bindings = node.importClause?.namedBindings
  if (bindings === undefined || !ts.isNamedImports(bindings)) return false
  return bindings.elements.every((element) => (element.propertyName ?? element.name).text === 'setImmediate')
}

/** Nobody knows at a call which of so many arguments is which: what holds some of them already is passed instead. */
const MAX_PARAMETERS = 6

/** Functions with more than {@link MAX_PARAMETERS} parameters. */
export function longParameterLists(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) =>
    nodesOf(source).flatMap((node) => {
      if (!ts.isFunctionLike(node) || node.parameters.length <= MAX_PARAMETERS) return []
      const name = ts.isConstructorDeclaration(node)
        ? 'constructor'
        : (node.name?.getText(source.tree) ?? 'function')
      return [`${at(source, lineOf(source, node))}: ${name} takes ${node.parameters.length} arguments`]
    }),
  )
}

/** Classes that two copies of the package must recognise of each other: by `isStateError` and its like. */
const brandedClasses = new Set(['StateError', 'WriteBatch', 'CheckpointWorker', 'CodecError', 'Appended'])

/** `using` and `await using`: in the realms that jest makes on Node.js 20 there is no `Symbol.dispose`, and they throw. */
export function usingDeclarations(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) =>
    nodesOf(source)
      .filter((node) => ts.isVariableDeclarationList(node) && (node.flags & ts.NodeFlags.Using) !== 0)
      .map((node) => `${at(source, lineOf(source, node))}: using`),
  )
}

/**
 * `import * as x` of what Node.js brings, otherwise than for types. A bundler may make imports by name of it, of all that is asked for: where one is
 * missing in an older Node.js, nothing of the bundle loads, although the code looks first whether it is there.
 */
export function builtinNamespaces(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) =>
    nodesOf(source)
      .filter(ts.isImportDeclaration)
      .filter(({ importClause }) => {
        if (importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword) return false
        return importClause?.namedBindings !== undefined && ts.isNamespaceImport(importClause.namedBindings)
      })
      .filter(({ moduleSpecifier }) => ts.isStringLiteral(moduleSpecifier) && isBuiltin(moduleSpecifier.text))
      .map((node) => `${at(source, lineOf(source, node))}: ${node.moduleSpecifier.getText(source.tree)}`),
  )
}

/**
 * `Promise.race` in a loop, or with a promise of a field: one that is there for longer than the race keeps something of each, at worst all that
 * was ever raced with it. `orAborted` and `Sleeper` do not.
 */
export function repeatedRaces(sources: readonly SourceFile[]): string[] {
  return sources.flatMap((source) =>
    nodesOf(source)
      .filter(ts.isCallExpression)
      .filter(({ expression }) => expression.getText(source.tree) === 'Promise.race')
      .filter(
        (race) =>
          isInLoop(race) ||
          racers(race).some((racer) => /#\w+(?!\()\b(?![(.\w])/.test(racer.getText(source.tree))),
      )
      .map((race) => `${at(source, lineOf(source, race))}: Promise.race`),
  )
}

function racers({ arguments: [all] }: ts.CallExpression): readonly ts.Node[] {
  return all !== undefined && ts.isArrayLiteralExpression(all) ? all.elements : []
}

function isInLoop(node: ts.Node): boolean {
  for (let each = node.parent; each !== undefined && !ts.isFunctionLike(each); each = each.parent) {
    if (ts.isIterationStatement(each, false)) return true
  }
  return false
}

/**
 * `instanceof` of what may come from another realm (a class that is neither declared in the file nor imported from another
 * file of ours) or from another copy of the package. `allowed` names, for a file, which classes it may ask for all the same.
 */
export function realmChecks(
  sources: readonly SourceFile[],
  allowed: { readonly [path: string]: readonly string[] } = {},
): string[] {
  return sources.flatMap((source) => {
    const own = ownNames(source)
    return nodesOf(source).flatMap((node) => {
      if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.InstanceOfKeyword)
        return []
      const name = node.right.getText(source.tree)
      if ((own.has(name) && !brandedClasses.has(name)) || allowed[source.path]?.includes(name)) return []
      return [`${at(source, lineOf(source, node))}: instanceof ${name}`]
    })
  })
}

/** Names that a file declares as classes, or imports from another file of ours. */
function ownNames(source: SourceFile): Set<string> {
  const names = new Set<string>()
  for (const node of nodesOf(source)) {
    if (ts.isClassDeclaration(node) && node.name !== undefined) names.add(node.name.text)
    if (!ts.isImportDeclaration(node) || !ts.isStringLiteral(node.moduleSpecifier)) continue
    if (!isRelative(node.moduleSpecifier.text)) continue
    const bindings = node.importClause?.namedBindings
    if (bindings === undefined || !ts.isNamedImports(bindings)) continue
    for (const element of bindings.elements) names.add(element.name.text)
  }
  return names
}
