/** The engines this job can keep its state in. Another one needs a name here and a line in `openBackend`. */
export const backendNames = ['memory', 'lmdb', 'redis', 'postgres'] as const
export type BackendName = (typeof backendNames)[number]
