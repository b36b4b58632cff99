/** What to do next about an error, where that is known. */
export const adviceFor = ({
  code,
  message,
}: {
  readonly code: string
  readonly message: string
}): string | undefined =>
  code === 'INCOMPATIBLE' && isOfMachine(message)
    ? 'holdfast doctor tells what this machine lacks'
    : code === 'FENCED' && saysWhatToDo(message)
      ? undefined
      : ADVICE[code]

/** By the message of an `INCOMPATIBLE`: not the data is of another version, a native package is missing, or this Node.js lacks a compression. */
export const isOfMachine = (message: string): boolean => /^(?:package \S+|compression) on /.test(message)

/** By the message of a `FENCED`: behind the owner, most of them have what to do about that one. */
const saysWhatToDo = (message: string): boolean => / belongs to .*; /.test(message)

const ADVICE: { readonly [code: string]: string } = {
  CORRUPTION: 'holdfast verify tells what is damaged; of checkpoints, holdfast repair saves the rest',
  INCOMPATIBLE: 'use the version of holdfast that wrote it, or a newer one',
  FENCED: 'write to another directory, or stop the job that owns this one first',
  STORAGE_ERROR: 'holdfast doctor looks at the file system and its permissions',
}
