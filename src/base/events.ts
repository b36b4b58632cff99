import { oneOf, type Rule, rejectViolations, rules, violationsOf } from './options.js'

/** Stops listening. */
export type Unsubscribe = () => void

/**
 * The listeners of one object, by event name. A listener that throws does not disturb what it listens to:
 * its error surfaces as an uncaught exception, after the component has finished its step.
 */
export class Listeners<Events extends object> {
  readonly #isName: Rule
  readonly #byName = new Map<keyof Events, Set<(event: never) => void>>()

  constructor(names: readonly (keyof Events & string)[]) {
    this.#isName = oneOf(...names)
  }

  /** `INVALID_ARGUMENT` for a name that no event has, and for a listener that is no function. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Unsubscribe {
    const schema = { event: this.#isName, listener: rules.function }
    rejectViolations(violationsOf({ event: name, listener }, schema, 'on'))
    const listeners = this.#byName.get(name) ?? new Set()
    this.#byName.set(name, listeners)
    // A wrapper of its own per call, so that the same function registered twice is two registrations.
    const registered = (event: Events[Name]) => listener(event)
    listeners.add(registered)
    return () => listeners.delete(registered)
  }

  has(name: keyof Events): boolean {
    return (this.#byName.get(name)?.size ?? 0) > 0
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of this.#byName.get(name) ?? []) {
      try {
        listener(event as never)
      } catch (error) {
        queueMicrotask(() => {
          throw error
        })
      }
    }
  }
}
