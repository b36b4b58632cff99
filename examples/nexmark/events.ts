// What happens at the auction house: people register, sellers open auctions, bidders bid.

export interface Person {
  readonly kind: 'person'
  readonly id: number
  readonly name: string
  readonly city: string
  readonly state: string
  readonly at: number
}

export interface Auction {
  readonly kind: 'auction'
  readonly id: number
  readonly item: string
  readonly seller: number
  readonly category: number
  readonly reserve: number
  readonly at: number
  /** The last instant at which it takes bids. */
  readonly expires: number
}

export interface Bid {
  readonly kind: 'bid'
  readonly auction: number
  readonly bidder: number
  /** In US cents. */
  readonly price: number
  readonly channel: string
  readonly at: number
}

export type NexmarkEvent = Person | Auction | Bid

/** Events come at most so much later than one of a later time. */
export const DISORDER_MS = 500
