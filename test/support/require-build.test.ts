import { expect, it } from 'vitest'
import { complaintAboutBuild } from './require-build.js'

it('tests say what is missing where there is no build, and how it is made', () => {
  expect(complaintAboutBuild([])).toBeUndefined()
  expect(complaintAboutBuild(['dist/page/page.js'])).toBe(
    'There is no whole build: it lacks dist/page/page.js. `npm run build` makes it; `npm test` does so by itself.',
  )
  expect(complaintAboutBuild(['dist/page/page.js', 'a', 'b'])).toContain(
    'it lacks dist/page/page.js and 2 more.',
  )
})
