/** Test files with counts of their own for a long run, as paths in the repository. */
export function filesWithLongCounts(): string[]
