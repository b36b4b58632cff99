// The events of Nexmark, each made of its number alone, so that reading can begin anywhere. Of 50 events one is a person, three are
// auctions and 46 are bids. Proportions, ids and what is hot are those of the generator of Apache Beam.

import type { Position } from 'holdfast/job'
import { type Auction, type Bid, DISORDER_MS, type NexmarkEvent, type Person } from './events.js'

export interface NexmarkSettings {
  readonly seed: number
  /** How many events there are. */
  readonly events: number
  /** In the time of the events: default 10,000. */
  readonly eventsPerSecond?: number
  /** How many of the newest auctions are bid for: default 100. */
  readonly auctionsInFlight?: number
}

type Kind = NexmarkEvent['kind']
type EventOf<Only extends Kind> = Extract<NexmarkEvent, { readonly kind: Only }>
type Random = (below: number) => number

const START_MS = 1_767_225_600_000
const PERSONS = 1
const AUCTIONS = 3
const ROUND = 50
const FIRST_ID = 1_000
const FIRST_CATEGORY = 10
const CATEGORIES = 5
/** People who are active, and how far behind and ahead of the newest ids a reference may be. */
const ACTIVE_PEOPLE = 1_000
const LEAD = 10
/** One of so many is not the hot one. */
const HOT_AUCTION = 2
const HOT_SELLER = 4
const HOT_BIDDER = 4
const HOT_CHANNEL = 2
/** What is hot changes after so many ids. */
const HOT_SPAN = 100

const FIRST_NAMES = [
  'Peter',
  'Paul',
  'Luke',
  'John',
  'Saul',
  'Vicky',
  'Kate',
  'Julie',
  'Sarah',
  'Deiter',
  'Walter',
]
const LAST_NAMES = ['Shultz', 'Abrams', 'Spencer', 'White', 'Bartels', 'Walton', 'Smith', 'Jones', 'Noris']
const CITIES = [
  'Phoenix',
  'Los Angeles',
  'San Francisco',
  'Boise',
  'Portland',
  'Bend',
  'Redmond',
  'Seattle',
  'Kent',
  'Cheyenne',
]
const STATES = ['AZ', 'CA', 'CA', 'ID', 'OR', 'OR', 'WA', 'WA', 'WA', 'WY']
const HOT_CHANNELS = ['Google', 'Facebook', 'Baidu', 'Apple']

/** A stream of events from a position on; each comes with the position behind it. */
export type From<Event> = (position?: Position) => Iterable<readonly [event: Event, position: Position]>

/** The events of some kinds; a position is the number of the next event. */
export function nexmarkFrom<const Only extends Kind>(
  settings: NexmarkSettings,
  kinds: readonly Only[],
): From<EventOf<Only>> {
  return function* (position = 0) {
    for (let number = Number(position); number < settings.events; number++) {
      if ((kinds as readonly Kind[]).includes(kindOf(number))) {
        yield [nexmarkEvent(settings, number) as EventOf<Only>, number + 1]
      }
    }
  }
}

/** All of them, for tests. */
export function nexmarkEvents<const Only extends Kind>(
  settings: NexmarkSettings,
  kinds: readonly Only[],
): EventOf<Only>[] {
  return Array.from(nexmarkFrom(settings, kinds)(), ([event]) => event)
}

function kindOf(number: number): Kind {
  const place = number % ROUND
  return place < PERSONS ? 'person' : place < PERSONS + AUCTIONS ? 'auction' : 'bid'
}

function nexmarkEvent(settings: NexmarkSettings, number: number): NexmarkEvent {
  const { seed, eventsPerSecond = 10_000, auctionsInFlight = 100 } = settings
  const random = randomOf(seed, number)
  const at = START_MS + Math.floor((number * 1_000) / eventsPerSecond) - random(DISORDER_MS + 1)
  const round = Math.floor(number / ROUND)
  const place = number % ROUND
  const newestPerson = round * PERSONS
  const newestAuction = round * AUCTIONS + Math.min(Math.max(place - PERSONS, 0), AUCTIONS - 1)
  const kind = kindOf(number)
  if (kind === 'person') return person(newestPerson, at, random)
  if (kind === 'auction') {
    const horizonMs = (auctionsInFlight * ROUND * 1_000) / (AUCTIONS * eventsPerSecond)
    return auction(newestAuction, newestPerson, at, at + 1 + random(Math.max(1, 2 * horizonMs)), random)
  }
  return bid(newestAuction, newestPerson, auctionsInFlight, at, random)
}

function person(id: number, at: number, random: Random): Person {
  const place = random(CITIES.length)
  return {
    kind: 'person',
    id: FIRST_ID + id,
    name: `${one(FIRST_NAMES, random)} ${one(LAST_NAMES, random)}`,
    city: CITIES[place] as string,
    state: STATES[place] as string,
    at,
  }
}

function auction(id: number, newestPerson: number, at: number, expires: number, random: Random): Auction {
  const hot = Math.floor(newestPerson / HOT_SPAN) * HOT_SPAN
  const seller = random(HOT_SELLER) > 0 ? hot : somebody(newestPerson, random)
  return {
    kind: 'auction',
    id: FIRST_ID + id,
    item: `item ${random(10_000)}`,
    seller: FIRST_ID + seller,
    category: FIRST_CATEGORY + random(CATEGORIES),
    reserve: price(random),
    at,
    expires,
  }
}

function bid(newestAuction: number, newestPerson: number, inFlight: number, at: number, random: Random): Bid {
  const oldest = Math.max(0, newestAuction - inFlight)
  const hotAuction = Math.floor(newestAuction / HOT_SPAN) * HOT_SPAN
  const hotBidder = Math.floor(newestPerson / HOT_SPAN) * HOT_SPAN + 1
  return {
    kind: 'bid',
    auction:
      FIRST_ID + (random(HOT_AUCTION) > 0 ? hotAuction : oldest + random(newestAuction - oldest + 1 + LEAD)),
    bidder: FIRST_ID + (random(HOT_BIDDER) > 0 ? hotBidder : somebody(newestPerson, random)),
    price: price(random),
    channel: random(HOT_CHANNEL) > 0 ? one(HOT_CHANNELS, random) : `channel-${random(10_000)}`,
    at,
  }
}

function somebody(newestPerson: number, random: Random): number {
  const active = Math.min(newestPerson + 1, ACTIVE_PEOPLE)
  return newestPerson + 1 - active + random(active + LEAD)
}

/** From a dollar to a million, as many in each power of ten. */
function price(random: Random): number {
  return Math.round(10 ** (random(6_000_000) / 1_000_000) * 100)
}

function one(list: readonly string[], random: Random): string {
  return list[random(list.length)] as string
}

/** Whole numbers for an event, by the mulberry32 of its seed and number. */
function randomOf(seed: number, number: number): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(number + 1, 0xc2b2ae35)
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}
