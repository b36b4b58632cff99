import { MemoryStateBackend, type SyncStateBackend } from 'holdfast'

/** The engines this job can keep its state in. Another one needs a name here and a line below. */
export const backendNames = ['memory'] as const
export type BackendName = (typeof backendNames)[number]

export function openBackend(name: BackendName): SyncStateBackend {
  switch (name) {
    case 'memory':
      return new MemoryStateBackend()
  }
}
