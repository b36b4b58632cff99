// Taking over what is had by whoever opened it last, so that nobody who is late takes it from a successor.
//
// (1) It is taken only from whom it was read to be had by: a claim that was held up on its way finds somebody else, and changes nothing.
// (2) Between the two, the job asks whether it is still its own. A process that was overtaken before it read is told so there; one that is overtaken
//     later finds (1), since its successor reads and takes after it has become the owner.

/** What is had by whoever opened it last. */
export interface Possession<Mark> {
  /** What tells who has it. */
  read(): Promise<Mark>
  /** Takes it where that is as it was read. It may be made again after an outage in which its answer was lost. */
  take(from: Mark): Promise<boolean>
}

/** What `checkOwner` rejects with, where this process does not own the job any more. */
export async function takeOver<Mark>(
  possession: Possession<Mark>,
  checkOwner: (() => Promise<void>) | undefined,
): Promise<void> {
  for (;;) {
    const from = await possession.read()
    await checkOwner?.()
    if (await possession.take(from)) return
  }
}
