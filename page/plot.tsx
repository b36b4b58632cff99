import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { count } from './format.js'

export interface Line {
  readonly label: string
  /** The name of a colour of the style sheet: `--accent`. */
  readonly color: string
  readonly values: readonly (number | null)[]
}

interface PlotProps {
  readonly title: string
  readonly x: readonly number[]
  readonly lines: readonly Line[]
  readonly format: (value: number) => string
  /** `x` are times in seconds. */
  readonly isTime?: boolean
  readonly isBars?: boolean
  readonly isBytes?: boolean
  readonly nameOfX?: (x: number) => string
  readonly nameOfTick?: (x: number) => string
}

const HEIGHT = 150

const colorOf = (name: string): string =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim()

/** A plot that is as wide as its place, in the colours of the page. */
export function Plot(props: PlotProps) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const latest = useRef(props)
  latest.current = props
  const shape = JSON.stringify([props.isTime, props.isBars, props.lines.map(({ label }) => label)])
  useEffect(() => {
    const element = place.current
    if (element === null) return undefined
    const made = new uPlot(optionsFor(latest, element.clientWidth), dataOf(latest.current), element)
    plot.current = made
    const resized = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }))
    resized.observe(element)
    const scheme = matchMedia('(prefers-color-scheme: dark)')
    const repaint = () => made.redraw(false)
    scheme.addEventListener('change', repaint)
    return () => {
      resized.disconnect()
      scheme.removeEventListener('change', repaint)
      made.destroy()
      plot.current = undefined
    }
  }, [shape])
  useEffect(() => {
    plot.current?.setData(dataOf(props))
  }, [props.x, props.lines])
  const last = props.lines
    .map(({ label, values }) => `${label} ${props.format(values.at(-1) ?? 0)}`)
    .join(', ')
  return (
    <figure class="plot">
      <figcaption>
        <span>{props.title}</span>
        {props.lines.length > 1
          ? props.lines.map(({ label, color }) => (
              <span key={label} class="key">
                <i style={{ background: `var(${color})` }} />
                {label}
              </span>
            ))
          : null}
      </figcaption>
      <div ref={place} role="img" aria-label={`${props.title}: ${last}`} />
    </figure>
  )
}

const dataOf = ({ x, lines }: PlotProps): uPlot.AlignedData => [
  [...x],
  ...lines.map(({ values }) => [...values]),
]

function optionsFor(latest: { readonly current: PlotProps }, width: number): uPlot.Options {
  const { isTime = false, isBars = false, lines } = latest.current
  const axis = (): Partial<uPlot.Axis> => ({
    stroke: () => colorOf('--faint'),
    font: '11px system-ui, sans-serif',
    grid: { stroke: () => colorOf('--line'), width: 1 },
    ticks: { show: false },
  })
  return {
    width,
    height: HEIGHT,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1_000), 'Etc/UTC'),
    legend: { show: false },
    cursor: { y: false, points: { size: 6 } },
    scales: {
      x: { time: isTime, ...(isBars ? { range: (_plot, min, max) => [min - 0.6, max + 0.6] } : {}) },
      y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] },
    },
    axes: [
      {
        ...axis(),
        grid: { show: false },
        size: 26,
        space: isTime ? 70 : 40,
        values: (_plot, all) =>
          isTime ? namesOf(all, timeOfDay) : all.map((x) => nameOfTick(latest.current, x)),
      },
      {
        ...axis(),
        size: 62,
        splits: (_plot: uPlot, _axis: number, _min: number, max: number) => niceSplits(latest, max),
        values: (_plot, all) => namesOf(all, latest.current.format),
      },
    ],
    series: [
      {},
      ...lines.map(
        ({ label, color }): uPlot.Series => ({
          label,
          stroke: () => colorOf(color),
          ...(isBars
            ? { fill: () => colorOf(color), width: 0, ...barPaths(), points: { show: false } }
            : {
                width: 1.5,
                fill: () =>
                  lines.length === 1
                    ? `color-mix(in srgb, ${colorOf(color)} 12%, transparent)`
                    : 'transparent',
              }),
        }),
      ),
    ],
    plugins: [{ hooks: { init: addReadout(latest) } }],
  }
}

const barPaths = (): Pick<uPlot.Series, 'paths'> => {
  const paths = uPlot.paths.bars?.({ size: [0.8, 40] })
  return paths === undefined ? {} : { paths }
}

/** Bars are counted from one place to the next; between them is nothing to name. */
const nameOfTick = ({ nameOfTick: name = count }: PlotProps, x: number): string =>
  Number.isInteger(x) ? name(x) : ''

/** Where two heights, or two times, have one name (half an event, as a whole number; half a second), it is given once. */
const namesOf = (places: readonly number[], format: PlotProps['format']): string[] =>
  places.map(format).map((name, i, all) => (all.indexOf(name) === i ? name : ''))

const timeOfDay = (seconds: number): string => new Date(seconds * 1_000).toISOString().slice(11, 19)

const fitting = (max: number, step: number, factors: readonly number[]): number =>
  factors.map((factor) => factor * step).find((each) => max / each <= 4) ?? max

const STEPS = {
  decimal: (max: number) => fitting(max, 10 ** Math.floor(Math.log10(max / 4)), [1, 2, 5, 10]),
  binary: (max: number) => fitting(max, 2 ** Math.floor(Math.log2(max / 4)), [1, 2]),
} as const

/** Three lines are enough to read a height by. */
function niceSplits(latest: { readonly current: PlotProps }, max: number): number[] {
  const wide = STEPS[latest.current.isBytes === true ? 'binary' : 'decimal'](max)
  return Array.from({ length: Math.floor(max / wide) + 1 }, (_, i) => i * wide)
}

/** Says what lies under the pointer. */
const addReadout = (latest: { readonly current: PlotProps }) => (plot: uPlot) => {
  const readout = document.createElement('div')
  readout.className = 'readout'
  readout.hidden = true
  plot.over.append(readout)
  plot.over.addEventListener('mouseleave', () => {
    readout.hidden = true
  })
  plot.over.addEventListener('mousemove', () => {
    const { idx, left = 0 } = plot.cursor
    const { x, lines, format, nameOfX, isTime = false } = latest.current
    const at = typeof idx === 'number' ? x[idx] : undefined
    readout.hidden = at === undefined
    if (at === undefined || typeof idx !== 'number') return
    const name = nameOfX?.(at) ?? (isTime ? timeOfDay(at) : count(at))
    const values = lines.map(({ label, values: all }) => {
      const value = all[idx]
      return `${label} ${value === null || value === undefined ? '–' : format(value)}`
    })
    readout.textContent = [name, ...values].join(' · ')
    readout.classList.toggle('left', left > plot.over.clientWidth / 2)
  })
}
