import type { StateDefinition } from '../../state/kinds/definitions.js'
import { AlignedWindows, alignedStates, isAligned } from './aligned-windows.js'
import { ListedOperator, listedStates } from './listed-operator.js'
import { arePlainSessions, PlainSessions } from './plain-sessions.js'
import { areOfProcessingTime, describedByClock, ProcessingTimeWindows } from './processing-time.js'
import type { ErasedWindows, WindowOperator, WindowOperatorOptions } from './window-operator.js'

/** The states of a store that windows need, under the name of the windows. */
export function statesOfWindows(
  name: string,
  definition: object,
): { readonly [name: string]: StateDefinition } {
  const given = definition as ErasedWindows
  const windows = areOfProcessingTime(given) ? describedByClock(given) : given
  return isAligned(windows) ? alignedStates(name, windows) : listedStates(name, windows)
}

export function openWindows(options: WindowOperatorOptions): WindowOperator {
  const opened = openByKind(options)
  return areOfProcessingTime(options.definition) ? new ProcessingTimeWindows(opened, options.nowMs) : opened
}

function openByKind(options: WindowOperatorOptions): WindowOperator {
  if (isAligned(options.definition)) return new AlignedWindows(options)
  if (arePlainSessions(options.definition)) return new PlainSessions(options)
  return new ListedOperator(options)
}
