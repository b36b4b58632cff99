import { ContainerClient, StorageSharedKeyCredential } from '@azure/storage-blob'
import { AzureBucket } from '../../src/azure/azure-bucket.js'
import { testObjectStore } from './object-stores.js'

/** Azurite's own account, the same everywhere: https://learn.microsoft.com/azure/storage/common/storage-use-azurite */
const account = new StorageSharedKeyCredential(
  'devstoreaccount1',
  'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
)

testObjectStore('azurite', 'AzureCheckpointStorage on Azurite', {
  open: async (address, prefix) => {
    const container = new ContainerClient(`${address}/checkpoints`, account, {
      retryOptions: { maxTries: 1 },
    })
    await container.createIfNotExists()
    return new AzureBucket(container, prefix)
  },
  lacks: ['an aborted upload leaves nothing'],
  forgets: 'Azurite saves what it knows of blobs every few seconds, so kill -9 takes acknowledged writes',
})
