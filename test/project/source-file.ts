import { readdirSync, readFileSync } from 'node:fs'
import { join, posix, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

export const root: string = fileURLToPath(new URL('../..', import.meta.url))

/** A parsed source; its path is relative to `src/`, with forward slashes. */
export interface SourceFile {
  readonly path: string
  readonly tree: ts.SourceFile
}

/** One module that a source names. */
export interface Reference {
  readonly specifier: string
  readonly line: number
  /** `export … from` */
  readonly reexport: boolean
}

export function parse(path: string, text: string): SourceFile {
  return { path, tree: ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true) }
}

/** Every source under `src/`, tests included. */
export function readSources(): SourceFile[] {
  return listFiles(join(root, 'src'), '.ts').map((file) => {
    const path = relative(join(root, 'src'), file).split(sep).join('/')
    return parse(path, readFileSync(file, 'utf8'))
  })
}

/** The files of a folder and its folders whose names end in `ending`; none where there is no such folder. */
export function listFiles(folder: string, ending: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted()
}

export function lineOf(source: SourceFile, node: ts.Node): number {
  return source.tree.getLineAndCharacterOfPosition(node.getStart(source.tree)).line + 1
}

const nodes = new WeakMap<SourceFile, readonly ts.Node[]>()

/** Every node of a source, in the order of the text; tokens without a meaning of their own, such as brackets, are left out. */
export function nodesOf(source: SourceFile): readonly ts.Node[] {
  const known = nodes.get(source)
  if (known !== undefined) return known
  const all: ts.Node[] = []
  const visit = (node: ts.Node) => {
    all.push(node)
    ts.forEachChild(node, visit)
  }
  visit(source.tree)
  nodes.set(source, all)
  return all
}

/** The same with every token: a comment may stand before any of them. */
export function* tokensOf(source: SourceFile): Generator<ts.Node> {
  const open: ts.Node[] = [source.tree]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    yield node
    open.push(...node.getChildren(source.tree).toReversed())
  }
}

/**
 * Everything by which a source depends on another module: imports and re-exports, of types as well, `import()` of
 * values and of types, `require()`, and `new URL('./worker.js', import.meta.url)`.
 */
export function referencesOf(source: SourceFile): Reference[] {
  const references: Reference[] = []
  for (const node of nodesOf(source)) {
    const specifier = specifierOf(node)
    if (specifier !== undefined && ts.isStringLiteralLike(specifier)) {
      references.push({
        specifier: specifier.text,
        line: lineOf(source, node),
        reexport: ts.isExportDeclaration(node),
      })
    }
  }
  return references
}

function specifierOf(node: ts.Node): ts.Node | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier
  if (ts.isExternalModuleReference(node)) return node.expression
  if (ts.isImportTypeNode(node))
    return ts.isLiteralTypeNode(node.argument) ? node.argument.literal : undefined
  if (ts.isCallExpression(node) && loads(node.expression)) return node.arguments[0]
  if (ts.isNewExpression(node) && node.arguments?.[1]?.getText() === 'import.meta.url')
    return node.arguments[0]
  return undefined
}

/** Whether calling this loads a module: `import`, `require`, or what `createRequire(…)` returned. */
function loads(callee: ts.Expression): boolean {
  if (callee.kind === ts.SyntaxKind.ImportKeyword) return true
  return /^require$|^requirePackage$|^createRequire\(/.test(callee.getText())
}

/** The source that a relative specifier means, as a path relative to `src/`. */
export function targetOf(source: SourceFile, specifier: string): string {
  return posix.join(posix.dirname(source.path), specifier).replace(/\.js$/, '.ts')
}
