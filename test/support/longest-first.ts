import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** An order of test files that begins with these, ends of paths: what takes longest is begun first. In the end, one worker would run it while the others have nothing left. */
export function longestFirst(longest: readonly string[]): typeof BaseSequencer {
  return class extends BaseSequencer {
    override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
      const sorted = await super.sort(files)
      const placeOf = ({ moduleId }: TestSpecification) => {
        const place = longest.findIndex((name) => moduleId.endsWith(`/${name}`))
        return place === -1 ? longest.length : place
      }
      return sorted.sort((a, b) => placeOf(a) - placeOf(b))
    }
  }
}
