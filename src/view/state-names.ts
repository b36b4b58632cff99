import type { RecordedSchema } from '../state.js'

/** Which key group and which state a stored key belongs to: its first two bytes say the one, the next two the other. */
export class StateNames {
  readonly #keyGroups: number
  readonly #names = new Map<number, string>()

  /** Without a schema, keys are plain bytes, which belong to none. */
  constructor(schema: RecordedSchema | undefined) {
    this.#keyGroups = schema?.keyGroups ?? 0
    for (const { id, name, former = [] } of schema?.states ?? []) {
      this.#names.set(id, name)
      for (const generation of former) this.#names.set(generation.id, name)
    }
  }

  /** `undefined` for what the typed store keeps for itself. */
  groupOf(key: Uint8Array): number | undefined {
    if (key.length < 4) return undefined
    const group = (key[0] as number) * 256 + (key[1] as number)
    return group < this.#keyGroups ? group : undefined
  }

  /** `undefined` for what the typed store keeps for itself, and what a dropped state has left. */
  nameOf(key: Uint8Array): string | undefined {
    if (this.groupOf(key) === undefined) return undefined
    return this.#names.get((key[2] as number) * 256 + (key[3] as number))
  }
}
