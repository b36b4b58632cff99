import type { EventSource } from './events.js'
import { FileSource, type FileSourceOptions } from './file-source.js'
import { type GeneratorOptions, GeneratorSource } from './generator.js'
import { ServerSource, type ServerSourceOptions } from './server-source.js'

/** Which source a run reads; it travels from the parent to the worker as JSON. */
export type SourceSpec =
  | ({ readonly kind: 'generator' } & GeneratorOptions)
  | ({ readonly kind: 'file' } & FileSourceOptions)
  | ({ readonly kind: 'server' } & ServerSourceOptions)

export async function openSource(spec: SourceSpec): Promise<EventSource> {
  if (spec.kind === 'generator') return new GeneratorSource(spec)
  return spec.kind === 'file' ? FileSource.open(spec) : new ServerSource(spec)
}
