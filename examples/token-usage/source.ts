import type { EventSource } from './events.js'
import { FileSource, type FileSourceOptions } from './file-source.js'
import { type GeneratorOptions, GeneratorSource } from './generator.js'

/** Which source a run reads; it travels from the parent to the worker as JSON. */
export type SourceSpec =
  | ({ readonly kind: 'generator' } & GeneratorOptions)
  | ({ readonly kind: 'file' } & FileSourceOptions)

export async function openSource(spec: SourceSpec): Promise<EventSource> {
  return spec.kind === 'generator' ? new GeneratorSource(spec) : FileSource.open(spec)
}
