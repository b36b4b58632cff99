// What the queries should give, by lists and loops over all events in memory: nothing of the jobs is used here.

import type { Auction, Bid, Person } from './events.js'

type Row = Readonly<Record<string, unknown>>

const SECOND_MS = 1_000
const DAY_MS = 24 * 3_600 * SECOND_MS

function groupBy<Item>(items: readonly Item[], by: (item: Item) => string | number): Map<string, Item[]> {
  const groups = new Map<string, Item[]>()
  for (const item of items) {
    const key = String(by(item))
    groups.set(key, [...(groups.get(key) ?? []), item])
  }
  return groups
}

const startOf = (at: number, sizeMs: number): number => at - (((at % sizeMs) + sizeMs) % sizeMs)
const day = (at: number): string => new Date(at).toISOString().slice(0, 10)

export function expected1(bids: readonly Bid[]): Row[] {
  return bids.map((bid) => ({ ...bid, price: bid.price * 0.908 }))
}

export function expected2(bids: readonly Bid[]): Row[] {
  return bids.filter(({ auction }) => auction % 123 === 0).map(({ auction, price }) => ({ auction, price }))
}

export function expected3(people: readonly Person[], auctions: readonly Auction[]): Row[] {
  return auctions
    .filter(({ category }) => category === 10)
    .flatMap(({ id: auction, seller }) =>
      people
        .filter(({ id, state }) => id === seller && ['OR', 'ID', 'CA'].includes(state))
        .map(({ name, city, state }) => ({ name, city, state, auction })),
    )
}

interface Won {
  readonly auction: Auction
  readonly bid: Bid
}

function won(auctions: readonly Auction[], bids: readonly Bid[]): Won[] {
  return auctions.flatMap((auction) => {
    const [bid] = bids
      .filter((each) => each.auction === auction.id && each.at >= auction.at && each.at <= auction.expires)
      .sort((one, other) => other.price - one.price || one.at - other.at)
    return bid === undefined ? [] : [{ auction, bid }]
  })
}

/** The last one of each category. */
export function expected4(auctions: readonly Auction[], bids: readonly Bid[]): Row[] {
  return [...groupBy(won(auctions, bids), ({ auction }) => auction.category)].map(([category, all]) => ({
    category: Number(category),
    auctions: all.length,
    average: all.reduce((total, { bid }) => total + bid.price, 0) / all.length,
  }))
}

export function expected5(bids: readonly Bid[]): Row[] {
  const ends = new Set(
    bids.flatMap(({ at }) => [1, 2, 3, 4, 5].map((n) => startOf(at, 2 * SECOND_MS) + n * 2 * SECOND_MS)),
  )
  return [...ends].flatMap((endMs) => {
    const inside = bids.filter(({ at }) => at >= endMs - 10 * SECOND_MS && at < endMs)
    const counts = [...groupBy(inside, ({ auction }) => auction)]
    const most = Math.max(...counts.map(([, all]) => all.length))
    return counts
      .filter(([, all]) => all.length === most)
      .map(([auction]) => ({ auction: Number(auction), bids: most, endMs }))
  })
}

export function expected7(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ at }) => startOf(at, 10 * SECOND_MS)).values()].flatMap((all) => {
    const highest = Math.max(...all.map(({ price }) => price))
    return all.filter(({ price }) => price === highest).map((bid) => ({ ...bid }))
  })
}

export function expected8(people: readonly Person[], auctions: readonly Auction[]): Row[] {
  return people.flatMap(({ id, name, at }) => {
    const startMs = startOf(at, 10 * SECOND_MS)
    const hasSold = auctions.some(
      (auction) => auction.seller === id && startOf(auction.at, 10 * SECOND_MS) === startMs,
    )
    return hasSold ? [{ id, name, startMs }] : []
  })
}

export function expected9(auctions: readonly Auction[], bids: readonly Bid[]): Row[] {
  return won(auctions, bids).map(({ auction, bid }) => ({
    auction: auction.id,
    category: auction.category,
    bidder: bid.bidder,
    price: bid.price,
  }))
}

export function expected11(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ bidder }) => bidder)].flatMap(([bidder, all]) => {
    const sessions: { bidder: number; bids: number; startMs: number; endMs: number }[] = []
    for (const at of all.map((bid) => bid.at).sort((one, other) => one - other)) {
      const last = sessions.at(-1)
      if (last !== undefined && at <= last.endMs) {
        last.bids++
        last.endMs = at + 10 * SECOND_MS
      } else {
        sessions.push({ bidder: Number(bidder), bids: 1, startMs: at, endMs: at + 10 * SECOND_MS })
      }
    }
    return sessions
  })
}

/** Where the machine's clock goes with the times of the events, and never back. */
export function expected12(bids: readonly Bid[]): Row[] {
  let nowMs = -Infinity
  const counts = new Map<string, { bidder: number; bids: number; endMs: number }>()
  for (const { bidder, at } of bids) {
    nowMs = Math.max(nowMs, at)
    const endMs = startOf(nowMs, 10 * SECOND_MS) + 10 * SECOND_MS
    const count = counts.get(`${bidder} ${endMs}`) ?? { bidder, bids: 0, endMs }
    counts.set(`${bidder} ${endMs}`, { ...count, bids: count.bids + 1 })
  }
  return [...counts.values()]
}

export function expected13(
  rows: readonly { readonly key: number; readonly value: string; readonly at: number }[],
  bids: readonly Bid[],
): Row[] {
  return bids.flatMap(({ auction, bidder, price, at }) => {
    const [valid] = rows
      .filter((row) => row.key === auction % 10_000 && row.at <= at)
      .sort((one, other) => other.at - one.at)
    return valid === undefined ? [] : [{ auction, bidder, price, at, value: valid.value }]
  })
}

function statistics(bids: readonly Bid[]): Row {
  const low = bids.filter(({ price }) => price < 10_000)
  const middle = bids.filter(({ price }) => price >= 10_000 && price < 1_000_000)
  const high = bids.filter(({ price }) => price >= 1_000_000)
  const bidders = (some: readonly Bid[]) => new Set(some.map(({ bidder }) => bidder)).size
  const auctions = (some: readonly Bid[]) => new Set(some.map(({ auction }) => auction)).size
  return {
    totalBids: bids.length,
    lowBids: low.length,
    middleBids: middle.length,
    highBids: high.length,
    totalBidders: bidders(bids),
    lowBidders: bidders(low),
    middleBidders: bidders(middle),
    highBidders: bidders(high),
    totalAuctions: auctions(bids),
    lowAuctions: auctions(low),
    middleAuctions: auctions(middle),
    highAuctions: auctions(high),
  }
}

export function expected15(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ at }) => day(at))].map(([date, all]) => ({ day: date, ...statistics(all) }))
}

export function expected16(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ channel }) => channel)].flatMap(([channel, ofChannel]) =>
    [...groupBy(ofChannel, ({ at }) => day(at))].map(([date, all]) => ({
      channel,
      day: date,
      minute: new Date(Math.max(...all.map(({ at }) => at))).toISOString().slice(11, 16),
      ...statistics(all),
    })),
  )
}

export function expected17(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ auction, at }) => `${auction} ${startOf(at, DAY_MS)}`).values()].map((all) => {
    const prices = all.map(({ price }) => price)
    const { totalBids, lowBids, middleBids, highBids } = statistics(all)
    const sum = prices.reduce((total, price) => total + price, 0)
    return {
      auction: all[0]?.auction,
      day: day(all[0]?.at ?? 0),
      totalBids,
      lowBids,
      middleBids,
      highBids,
      least: Math.min(...prices),
      greatest: Math.max(...prices),
      average: sum / all.length,
      sum,
    }
  })
}

export function expected18(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ bidder, auction }) => `${bidder} ${auction}`).values()].map((all) => ({
    ...all.toSorted((one, other) => other.at - one.at)[0],
  }))
}

export function expected19(bids: readonly Bid[]): Row[] {
  return [...groupBy(bids, ({ auction }) => auction).values()].flatMap((all) =>
    all
      .toSorted((one, other) => other.price - one.price || one.at - other.at)
      .slice(0, 10)
      .map((bid, place) => ({ ...bid, rank: place + 1 })),
  )
}

export function expected20(auctions: readonly Auction[], bids: readonly Bid[]): Row[] {
  return bids.flatMap(({ auction, bidder, price, channel, at }) =>
    auctions
      .filter(({ id, category }) => id === auction && category === 10)
      .map(({ item, seller, expires }) => ({ auction, bidder, price, channel, at, item, seller, expires })),
  )
}
