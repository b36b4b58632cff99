import { readFile } from 'node:fs/promises'
import { StateError } from '../index.js'
import { reasonOf } from '../view/reason-of.js'

/** What the page consists of (scripts/bundle-page.mjs), by the names that it is asked for. */
const FILES: { readonly [name: string]: { readonly file: string; readonly type: string } | undefined } = {
  '': { file: 'index.html', type: 'text/html; charset=utf-8' },
  'page.js': { file: 'page.js', type: 'text/javascript; charset=utf-8' },
  'page.css': { file: 'page.css', type: 'text/css; charset=utf-8' },
  'icon.svg': { file: 'icon.svg', type: 'image/svg+xml' },
  'licences.txt': { file: 'licences.txt', type: 'text/plain; charset=utf-8' },
}

/** A file of the page; `undefined` where it has none of that name. */
export async function pageFile(name: string): Promise<{ type: string; body: Buffer } | undefined> {
  const found = Object.hasOwn(FILES, name) ? FILES[name] : undefined
  if (found === undefined) return undefined
  try {
    return { type: found.type, body: await readFile(new URL(`../page/${found.file}`, import.meta.url)) }
  } catch (cause) {
    const operation = `to read ${found.file}`
    throw new StateError(
      'STORAGE_ERROR',
      { storage: 'the package', operation, reason: reasonOf(cause) },
      { cause },
    )
  }
}
