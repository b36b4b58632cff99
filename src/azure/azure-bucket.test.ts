import { describe, expect, it } from 'vitest'
import { expectNothingTold, SECRET, tellingClient } from '../../test/support/telling-errors.js'
import { AzureCheckpointStorage } from './azure-checkpoint-storage.js'

const CALLS = ['upload', 'download', 'deleteIfExists', 'stageBlock', 'commitBlockList']

describe('AzureCheckpointStorage', () => {
  it('tells nothing of the requests that an error of the client has with it, nor of a signed address', async () => {
    for (const how of ['call', 'promise', 'body'] as const) {
      for (const status of [undefined, 403, 500]) {
        const blob = tellingClient(CALLS, how, status)
        const pages = tellingClient(['next'], how === 'body' ? 'promise' : how, status)
        const container = {
          url: `https://account.example/checkpoints?sv=2026&sig=${SECRET}`,
          containerName: 'checkpoints',
          getBlockBlobClient: () => blob,
          listBlobsFlat: () => ({ byPage: () => pages }),
        }
        const storage = new AzureCheckpointStorage({ container: container as never, attempts: 1 })
        expect(storage.name).not.toContain(SECRET)
        await expectNothingTold(storage, how)
      }
    }
  })
})
