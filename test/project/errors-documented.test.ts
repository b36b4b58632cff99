import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, it } from 'vitest'
import { listFiles, nodesOf, parse, root, type SourceFile } from './source-file.js'

/** Codes that no test needs to mention, and why. */
const untested: { readonly [code: string]: string } = {}

const errors = parse('base/errors.ts', readFileSync(join(root, 'src/base/errors.ts'), 'utf8'))
const codes = codesOf(errors)
const document = readFileSync(join(root, 'docs/errors.md'), 'utf8')
const sections = sectionsOf(document)

/** The codes: the members of the interface `StateErrorDetails`. Each comes with the names of its details. */
function codesOf(source: SourceFile): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const node of nodesOf(source)) {
    if (!ts.isInterfaceDeclaration(node) || node.name.text !== 'StateErrorDetails') continue
    for (const member of node.members) {
      if (!ts.isPropertySignature(member) || member.type === undefined) continue
      const details = ts.isTypeLiteralNode(member.type) ? member.type.members : []
      found.set(
        member.name.getText(),
        details.map((detail) => `${detail.name?.getText()}${isOptional(detail) ? '?' : ''}`),
      )
    }
  }
  return found
}

function isOptional(member: ts.TypeElement): boolean {
  return member.questionToken !== undefined
}

/** The level-two sections of a document, by heading. */
function sectionsOf(markdown: string): Map<string, string> {
  const parts = markdown.split(/^## (.+)\n/m).slice(1)
  return new Map(parts.flatMap((part, index) => (index % 2 === 0 ? [[part, parts[index + 1] ?? '']] : [])))
}

/** Whether a source has the code as a string of its own, or as a name: a comment is not a test. */
function mentions(source: SourceFile, code: string): boolean {
  for (const node of nodesOf(source)) {
    if ((ts.isStringLiteralLike(node) || ts.isIdentifier(node)) && node.text === code) return true
  }
  return false
}

/** Files that test: unit tests, those in `test/`, and the suites that `holdfast/testing` exports. As text: few need to be parsed. */
function testFiles(): { readonly file: string; readonly text: string }[] {
  const files = [
    ...listFiles(join(root, 'src'), '.test.ts'),
    ...listFiles(join(root, 'test'), '.ts').filter((file) => !file.includes(join('test', 'project'))),
    ...listFiles(join(root, 'src/testing'), '.ts').filter((file) => /conformance/.test(file)),
  ]
  return [...new Set(files)].map((file) => ({ file, text: readFileSync(file, 'utf8') }))
}

describe('error codes', () => {
  it('are found', () => {
    expect(codes.size).toBe(18)
    expect(codes.get('BACKEND_FULL')).toEqual(['used', 'capacity'])
  })

  it('have a section each in docs/errors.md, in alphabetical order, and nothing else has', () => {
    expect([...sections.keys()]).toEqual([...codes.keys()].toSorted())
  })

  it.each([...codes])('are documented: %s', (code, details) => {
    const section = sections.get(code) ?? ''
    expect(section).toMatch(/^\*\*When\*\* /m)
    expect(section).toMatch(/^\*\*What to do:\*\* /m)
    const documented = /^`details`: `\{ (.+?) \}`/m.exec(section)?.[1]?.split(', ')
    expect(documented).toEqual(details)
  })

  it('are tested', () => {
    const files = testFiles()
    const tests = (code: string) =>
      files.some(({ file, text }) => text.includes(code) && mentions(parse(file, text), code))
    const forgotten = [...codes.keys()].filter((code) => !tests(code))
    expect(forgotten).toEqual(Object.keys(untested))
    for (const code of forgotten) expect(sections.get(code)).toContain('*Reserved')
  })
})

describe('the check of error codes', () => {
  it('reads codes, sections and mentions', () => {
    const source = parse('a.ts', 'interface StateErrorDetails { A: { readonly x: 1; readonly y: 2 } }')
    expect(codesOf(source)).toEqual(new Map([['A', ['x', 'y']]]))
    expect(sectionsOf('# t\n\n## A\nx\n## B\ny\n')).toEqual(
      new Map([
        ['A', 'x\n'],
        ['B', 'y\n'],
      ]),
    )
    expect(mentions(parse('a.ts', `// CLOSED\nlet a = 'not CLOSED'`), 'CLOSED')).toBe(false)
    expect(mentions(parse('a.ts', `expect(code).toBe('CLOSED')`), 'CLOSED')).toBe(true)
  })
})
