import { setFlagsFromString } from 'node:v8'
import { describe, expect, it } from 'vitest'
import { Slot } from '../../base/slot.js'
import { float64, uint32 } from './numbers.js'
import { struct } from './struct.js'

setFlagsFromString('--allow-natives-syntax')
const hasFastProperties = new Function('view', 'return %HasFastProperties(view)') as (view: object) => boolean

describe('views of structs', () => {
  it('are fast objects, also where another struct has fields of the same names', () => {
    const views = [struct({ count: uint32, sum: float64 }), struct({ count: float64, sum: float64 })].flatMap(
      (codec) => [codec.viewOf(new Slot(), 'change'), codec.viewOf(new Slot(), 'read')],
    )
    expect(views.map((view) => hasFastProperties(view))).toEqual([true, true, true, true])
  })

  it('are plain objects with the fields, and nothing else can be put there', () => {
    const slot = new Slot()
    slot.bytes = new Uint8Array(12)
    slot.view = new DataView(slot.bytes.buffer)
    const view = struct({ count: uint32, sum: float64 }).viewOf(slot, 'change')
    view.count = 3
    view.sum += 1.5
    expect({ ...view }).toEqual({ count: 3, sum: 1.5 })
    expect(Object.getPrototypeOf(view)).toBe(Object.prototype)
    expect(() => Object.assign(view, { other: 1 })).toThrow(TypeError)
  })
})
