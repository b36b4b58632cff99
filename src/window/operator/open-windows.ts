import type { StateDefinition } from '../../state/kinds/definitions.js'
import { AlignedWindows, alignedStates, isAligned } from './aligned-windows.js'
import { ListedOperator, listedStates } from './listed-operator.js'
import type { ErasedWindows, WindowOperator, WindowOperatorOptions } from './window-operator.js'

/** The states of a store that windows need, under the name of the windows. */
export function statesOfWindows(
  name: string,
  definition: object,
): { readonly [name: string]: StateDefinition } {
  const windows = definition as ErasedWindows
  return isAligned(windows) ? alignedStates(name, windows) : listedStates(name, windows)
}

export function openWindows(options: WindowOperatorOptions): WindowOperator {
  return isAligned(options.definition) ? new AlignedWindows(options) : new ListedOperator(options)
}
