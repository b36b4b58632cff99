// What runs on the server. Each script declares its keys, which are of one part.
//
// (1) Nothing is written before everything is decided: a script that is refused for lack of memory has changed nothing, since a server looks at
//     that before the first command that writes, and never after.
// (2) Batches of a writer have numbers without gaps. One that has been applied is answered again, and not applied again; one that comes before its
//     turn waits for it at the client. A server that has gone back behind what it has acknowledged is found out by that.
// (3) Of a store with one owner, how many entries, deadlines and keys in order there are is noted with each batch: where the next one finds others,
//     somebody else has removed or added some.

import { createHash } from 'node:crypto'
import { REMEMBERED_ANSWERS } from './layout.js'

export interface Script {
  readonly text: string
  readonly sha: string
  readonly keys: number
}

function script(keys: number, text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex'), keys }
}

/** Expired entries that one batch removes in passing. */
const SWEPT_BY_A_BATCH = 500
/** A list of arguments for one command: the stack of Lua holds 8,000. */
const CHUNK = 4_000

// KEYS: data, meta, due, order, writes. ARGV: token ('' where the store is shared), number of the batch, time of the writer,
// 'grows' | 'shrinks' | 'skip', 'ordered' | '', lifetime of writes in ms ('0': for ever), number of expectations, then of each: key and '' (absent) or '=' value;
// then runs: 'p' n (key stored)… · 't' n (key stored, with a deadline)… · 'd' n key… · 'r' min max (of ZRANGEBYLEX) · 'c'
// Answers: 'OK expired entries clock next-deadline' · 'EXPECT index' · 'SKIPPED' · 'FENCED owner' · 'AHEAD last' · 'LATE' · 'DAMAGED noted, found'
export const APPLY: Script = script(
  5,
  `
local data, meta, due, order, writes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local call, A = redis.call, ARGV
local own = call('HMGET', meta, 'owner', 'clock')
if A[1] ~= '' and own[1] ~= A[1] then return 'FENCED ' .. (own[1] or '') end
local seq = tonumber(A[2])
local notes = call('HMGET', writes, 'last', 'held')
local last, held = tonumber(notes[1] or '0'), notes[2]
if seq <= last then
  if last - seq >= ${REMEMBERED_ANSWERS} then return 'LATE' end
  -- Something that replicas hear of: otherwise WAIT behind it, over a new connection, has nothing to wait for.
  call('HDEL', writes, '-')
  call('HSET', writes, 'last', string.format('%.0f', last))
  return call('HGET', writes, seq % ${REMEMBERED_ANSWERS})
end
if seq > last + 1 then return 'AHEAD ' .. last end
local ordered = A[5] == 'ordered'
local isAlone = A[1] ~= ''
local deadlines = call('ZCARD', due)
-- Without deadlines, which is how most batches find it and leave it, nothing is asked about them any more.
local hasDue = deadlines > 0
local found
if isAlone then
  found = call('HLEN', data) .. ' ' .. deadlines
  if ordered then found = found .. ' ' .. call('ZCARD', order) end
  if held and found ~= held then return 'DAMAGED ' .. held .. ', ' .. found end
end
local function finish(answer, holds)
  if isAlone then
    call('HSET', writes, 'last', A[2], seq % ${REMEMBERED_ANSWERS}, answer, 'held', holds)
  else
    call('HSET', writes, 'last', A[2], seq % ${REMEMBERED_ANSWERS}, answer)
  end
  if A[6] ~= '0' then call('PEXPIRE', writes, A[6]) end
  return answer
end
-- What has changed no entry is noted also where there is no memory left.
local function changeNothing(answer)
  call('HDEL', writes, '-')
  return finish(answer, found)
end
if A[4] == 'skip' then return changeNothing('SKIPPED') end
local now = tonumber(A[3])
local clock = tonumber(own[2] or '0')
local late = 0
if clock > now then late = clock - now; now = clock end
local nowText = string.format('%.0f', now)
local at = 8
for e = 1, tonumber(A[7]) do
  local stored = call('HGET', data, A[at])
  if stored then
    if string.byte(stored, 1) == 1 then
      if struct.unpack('>d', stored, 2) <= now then stored = false else stored = string.sub(stored, 10) end
    else
      stored = string.sub(stored, 2)
    end
  end
  local wanted = A[at + 1]
  if wanted == '' and stored or wanted ~= '' and (not stored or stored ~= string.sub(wanted, 2)) then
    return changeNothing('EXPECT ' .. e)
  end
  at = at + 2
end
if A[4] == 'shrinks' then call('HDEL', writes, '-') end
call('HSET', meta, 'clock', nowText)
local expired = 0
local function removeAll(keys)
  for from = 1, #keys, ${CHUNK} do
    local to = math.min(from + ${CHUNK - 1}, #keys)
    call('HDEL', data, unpack(keys, from, to))
    if hasDue then call('ZREM', due, unpack(keys, from, to)) end
    if ordered then call('ZREM', order, unpack(keys, from, to)) end
  end
end
local swept = hasDue and call('ZRANGEBYSCORE', due, '-inf', nowText, 'LIMIT', 0, ${SWEPT_BY_A_BATCH}) or {}
if #swept > 0 then
  expired = #swept
  removeAll(swept)
end
-- Only where more are due than were swept may what this batch touches be expired.
local backlog = #swept == ${SWEPT_BY_A_BATCH}
local function note(keys)
  if not backlog then return end
  local seen = {}
  for i = 1, #keys do
    if not seen[keys[i]] then
      seen[keys[i]] = true
      local deadline = call('ZSCORE', due, keys[i])
      if deadline and tonumber(deadline) <= now then expired = expired + 1 end
    end
  end
end
while at <= #A do
  local run = A[at]
  if run == 'p' or run == 't' then
    local first, final = at + 2, at + 1 + 2 * tonumber(A[at + 1])
    local expires = run == 't'
    local keys = {}
    if ordered or expires or hasDue then
      for i = first, final, 2 do keys[#keys + 1] = A[i] end
    end
    if hasDue then note(keys) end
    if expires then
      hasDue = true
      local scores = {}
      for i = first + 1, final, 2 do
        local deadline = struct.unpack('>d', A[i], 2) + late
        if late > 0 then A[i] = string.sub(A[i], 1, 1) .. struct.pack('>d', deadline) .. string.sub(A[i], 10) end
        scores[#scores + 1] = deadline
        scores[#scores + 1] = A[i - 1]
      end
      for from = 1, #scores, ${CHUNK} do
        call('ZADD', due, unpack(scores, from, math.min(from + ${CHUNK - 1}, #scores)))
      end
    elseif hasDue then
      for from = 1, #keys, ${CHUNK} do
        call('ZREM', due, unpack(keys, from, math.min(from + ${CHUNK - 1}, #keys)))
      end
    end
    for from = first, final, ${CHUNK} do
      call('HSET', data, unpack(A, from, math.min(from + ${CHUNK - 1}, final)))
    end
    if ordered then
      for from = 1, #keys, ${CHUNK / 2} do
        local members = {}
        for i = from, math.min(from + ${CHUNK / 2 - 1}, #keys) do
          members[#members + 1] = 0
          members[#members + 1] = keys[i]
        end
        call('ZADD', order, unpack(members))
      end
    end
    at = final + 1
  elseif run == 'd' then
    local n = tonumber(A[at + 1])
    local keys = {}
    for i = at + 2, at + 1 + n do keys[#keys + 1] = A[i] end
    note(keys)
    removeAll(keys)
    at = at + 2 + n
  elseif run == 'r' then
    local keys = call('ZRANGEBYLEX', order, A[at + 1], A[at + 2])
    note(keys)
    removeAll(keys)
    at = at + 3
  else
    if hasDue then expired = expired + call('ZCOUNT', due, '-inf', nowText) end
    call('UNLINK', data, due, order)
    backlog, hasDue = false, false
    at = at + 1
  end
end
local entries = call('HLEN', data)
local nearest, holds = {}, entries .. ' 0'
if hasDue then
  nearest = call('ZRANGE', due, 0, 0, 'WITHSCORES')
  holds = entries .. ' ' .. call('ZCARD', due)
end
if isAlone and ordered then holds = holds .. ' ' .. call('ZCARD', order) end
return finish('OK ' .. expired .. ' ' .. entries .. ' ' .. nowText .. ' ' .. (nearest[2] or ''), holds)
`,
)

// KEYS: meta, writes, data, due. ARGV: layout, token ('': the next one; 'shared': none), time of the owner, for the next token the one that it is to follow
// ('': none), a random id of who opens. An attempt that arrives late changes nothing: what it has done is there already, or somebody else has come.
// Answers: 'OK token clock entries' · 'INCOMPATIBLE layout' · 'FENCED owner' · 'LATE' · 'DAMAGED noted, found'
export const CLAIM: Script = script(
  4,
  `
local layout = redis.call('HGET', KEYS[1], 'layout')
if layout and layout ~= ARGV[1] then return 'INCOMPATIBLE ' .. layout end
local owner = redis.call('HGET', KEYS[1], 'owner')
local token = ARGV[2]
-- With the token by which it was taken: a version of this that notes no opener may have taken it since.
local isAgain = token ~= 'shared' and redis.call('HGET', KEYS[1], 'opener') == ARGV[5] .. ' ' .. (owner or '')
if isAgain then
  token = owner
elseif token == 'shared' then
  if owner and owner ~= 'shared' then return 'FENCED ' .. owner end
elseif owner == 'shared' then
  return 'FENCED shared'
elseif token == '' then
  if (owner or '') ~= ARGV[4] then return 'LATE' end
  token = string.format('%.0f', tonumber(owner or '0') + 1)
elseif tonumber(owner or '0') > tonumber(token) then
  return 'FENCED ' .. owner
end
local held = token ~= 'shared' and redis.call('HGET', KEYS[2], 'held')
if held then
  local found = redis.call('HLEN', KEYS[3]) .. ' ' .. redis.call('ZCARD', KEYS[4])
  if string.sub(held .. ' ', 1, #found + 1) ~= found .. ' ' then return 'DAMAGED ' .. held .. ', ' .. found end
end
-- First what a server without memory to spare takes as well: a full store can be opened, read and emptied.
if not isAgain then
  redis.call('HDEL', KEYS[1], '-')
  redis.call('HSET', KEYS[1], 'layout', ARGV[1], 'owner', token)
  if token ~= 'shared' then
    redis.call('HSET', KEYS[1], 'opener', ARGV[5] .. ' ' .. token)
    redis.call('UNLINK', KEYS[2])
    if held then redis.call('HSET', KEYS[2], 'held', held) end
  end
end
local clock = redis.call('HGET', KEYS[1], 'clock') or '0'
local nearest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
return 'OK ' .. token .. ' ' .. clock .. ' ' .. redis.call('HLEN', KEYS[3]) .. ' ' .. (nearest[2] or '')
`,
)

// KEYS: meta, writes, data. ARGV: an opener, as it is noted with the first token there is. Takes a store away that it has made and nobody has taken or written since.
export const UNMAKE: Script = script(
  3,
  `
if redis.call('HGET', KEYS[1], 'opener') == ARGV[1] and redis.call('EXISTS', KEYS[3]) == 0 then redis.call('UNLINK', KEYS[1], KEYS[2]) end
return 'OK'
`,
)

// KEYS: data, order. ARGV: 'lex' min max count | 'xel' (from the end) … | 'keys' key…; answers with keys and stored values, up to about 1 MiB of them.
export const PAGE: Script = script(
  2,
  `
local keys
if ARGV[1] == 'lex' then
  keys = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
elseif ARGV[1] == 'xel' then
  keys = redis.call('ZREVRANGEBYLEX', KEYS[2], ARGV[3], ARGV[2], 'LIMIT', 0, ARGV[4])
else
  keys = {}
  for i = 2, #ARGV do keys[#keys + 1] = ARGV[i] end
end
local page, size = {}, 0
for i = 1, #keys do
  local value = redis.call('HGET', KEYS[1], keys[i])
  page[#page + 1] = keys[i]
  page[#page + 1] = value
  size = size + #keys[i] + (value and #value or 0)
  if size >= 1048576 then break end
end
return page
`,
)

// KEYS: data, meta, due. ARGV: time of the reader. Answers: 'entries-alive clock'
export const COUNT: Script = script(
  3,
  `
local now, clock = tonumber(ARGV[1]), tonumber(redis.call('HGET', KEYS[2], 'clock') or '0')
if clock > now then now = clock end
local nowText = string.format('%.0f', now)
return (redis.call('HLEN', KEYS[1]) - redis.call('ZCOUNT', KEYS[3], '-inf', nowText)) .. ' ' .. nowText
`,
)

// KEYS: data. ARGV: key. Answers with the first bytes of the stored value: enough to know when it expires.
export const HEAD: Script = script(
  1,
  `
local held = redis.call('HGET', KEYS[1], ARGV[1])
return held and string.sub(held, 1, 9)
`,
)
