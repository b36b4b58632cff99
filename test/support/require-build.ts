import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root: string = fileURLToPath(new URL('../..', import.meta.url))

interface Bootstrap {
  missingBundles(root: string): readonly string[]
}

/**
 * Before all tests: what threads, child processes and the inspector's page load is always built, and where it is not, what fails
 * names anything but that.
 */
export async function setup(): Promise<void> {
  const { missingBundles } = (await import(join(root, 'scripts/bootstrap.mjs'))) as Bootstrap
  const complaint = complaintAboutBuild(missingBundles(root))
  if (complaint !== undefined) throw new Error(complaint)
}

/** `undefined` where nothing is missing. */
export function complaintAboutBuild([first, ...others]: readonly string[]): string | undefined {
  if (first === undefined) return undefined
  const more = others.length === 0 ? '' : ` and ${others.length} more`
  return `There is no whole build: it lacks ${first}${more}. \`npm run build\` makes it; \`npm test\` does so by itself.`
}
