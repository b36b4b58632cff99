import { afterAll, beforeAll } from 'vitest'
import { type RunningService, startService } from '../../scripts/services/services.mjs'
import { exampleKeeps } from './example.js'

let service: RunningService
beforeAll(async () => {
  service = await startService('versitygw')
})
afterAll(() => service?.stop())

exampleKeeps(
  (address) => ['--storage', 's3://bucket/example', '--endpoint', address],
  () => service,
)
