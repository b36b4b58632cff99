// What a million tokens cost in US dollars: invented prices of invented models, in the range of real ones.
// A dollar for a million tokens is a millionth of a dollar for one.

interface Price {
  readonly inUsdPerMillion: number
  readonly outUsdPerMillion: number
}

export const prices: ReadonlyMap<string, Price> = new Map([
  ['atlas-large', { inUsdPerMillion: 5, outUsdPerMillion: 25 }],
  ['atlas-medium', { inUsdPerMillion: 3, outUsdPerMillion: 15 }],
  ['atlas-small', { inUsdPerMillion: 1, outUsdPerMillion: 5 }],
  ['borealis-pro', { inUsdPerMillion: 2.5, outUsdPerMillion: 10 }],
  ['borealis-mini', { inUsdPerMillion: 0.25, outUsdPerMillion: 2 }],
  ['cumulus-70b', { inUsdPerMillion: 0.6, outUsdPerMillion: 0.8 }],
  ['cumulus-8b', { inUsdPerMillion: 0.1, outUsdPerMillion: 0.2 }],
  ['delta-reasoner', { inUsdPerMillion: 15, outUsdPerMillion: 60 }],
])

/** The price of a request in US dollars; 0 for a model that is not in the table. */
export function costUsdOf(model: string, tokensIn: number, tokensOut: number): number {
  const price = prices.get(model)
  if (price === undefined) return 0
  return (tokensIn * price.inUsdPerMillion + tokensOut * price.outUsdPerMillion) / 1_000_000
}
