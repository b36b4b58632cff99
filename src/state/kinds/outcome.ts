/** Whether a store answers at once (over a `SyncStateBackend`) or with promises. */
export type Mode = 'sync' | 'async'

/** What a call returns: the result itself over a synchronous backend, a promise of it over another one. */
export type Outcome<M extends Mode, Result> = M extends 'sync' ? Result : Promise<Result>

/** What a scan returns: an iterator over a synchronous backend, an asynchronous one over another. */
export type Stream<M extends Mode, Item> = M extends 'sync'
  ? IterableIterator<Item>
  : AsyncIterableIterator<Item>
