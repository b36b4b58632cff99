import { expect, it } from 'vitest'
import { tellHostLoad } from './host-load.js'
import { JobPulse, PulseGiver } from './job-pulse.js'

it('a job is told how busy the thread is that asked for it: all of the time at first, then what it is', async () => {
  const pulse = new JobPulse()
  const giver = new PulseGiver(pulse.words)
  const end = tellHostLoad(pulse)
  try {
    expect(giver.hostLoad).toBe(1)
    // This thread waits, mostly.
    await expect.poll(() => giver.hostLoad).toBeLessThan(1)
  } finally {
    end()
    giver.stop()
  }
})
