/** What to do next about an error with that code, where that is known. */
export const adviceFor = (code: string): string | undefined => ADVICE[code]

const ADVICE: { readonly [code: string]: string } = {
  CORRUPTION: 'holdfast verify tells what is damaged, holdfast repair saves the rest',
  INCOMPATIBLE: 'use the version of holdfast that wrote it, or a newer one',
  FENCED: 'write to another directory, or stop the job that owns this one first',
  STORAGE_ERROR: 'holdfast doctor looks at the file system and its permissions',
}
