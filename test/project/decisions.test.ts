import { readdirSync, readFileSync } from 'node:fs'
import { expect, it } from 'vitest'

const folder = new URL('../../docs/decisions/', import.meta.url)

it('decisions have a number each, and stand in their index in order', () => {
  const files = readdirSync(folder).filter((name) => name !== 'README.md')
  const index = readFileSync(new URL('README.md', folder), 'utf8')
  const listed = [...index.matchAll(/^(\d+)\. \[.+\]\((.+\.md)\)$/gm)].map(([, number, file]) => [
    Number(number),
    file,
  ])
  expect(listed).toEqual(files.toSorted().map((file) => [Number(file.slice(0, 4)), file]))
  expect(new Set(files.map((file) => file.slice(0, 4))).size).toBe(files.length)
})
