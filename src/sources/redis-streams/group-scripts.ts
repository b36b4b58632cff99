// What a member of a consumer group does in Redis, each in one step. What is given to whom is in the pending entries of the group:
//
//   CONSUMER          has what was given to it, and is in none of its cuts
//   CONSUMER:cut:N    has what is in its cut N, which may be published or not: only the checkpoint tells. Nobody claims it
//   the note, a hash: owner:CONSUMER -> a random id: who has opened it last      acked:CONSUMER -> the newest cut that was acknowledged
//                     opened:CONSUMER -> how often it was opened                 gone:CONSUMER:cut:N -> what of cut N was trimmed before it was made
//
// (1) An entry is moved to CONSUMER:cut:N before cut N is published, and acknowledged once that is safe.
// (2) Whoever claims entries of a dead consumer takes only what is in no cut of it. Where that one lives after all, it cannot make a cut of them any
//     more: they are not its own.
// (3) A script answers with a list whose first word says what has become of it. It may be run again where its answer was lost.
// (4) Who opens a consumer says how often that was opened before: an attempt that arrives late, when it was opened since, changes nothing.

const COMMON = `
local stream, note = KEYS[1], KEYS[2]
local group, consumer, owner = ARGV[1], ARGV[2], ARGV[3]
local function owns() return redis.call('HGET', note, 'owner:' .. consumer) == owner end
local function fenced() return {'FENCED', redis.call('HGET', note, 'owner:' .. consumer) or ''} end
local function hasGroup()
  if redis.call('EXISTS', stream) == 0 then return false end
  for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    for i = 1, #each, 2 do
      if each[i] == 'name' and each[i + 1] == group then return true end
    end
  end
  return false
end
local function named(list)
  local map = {}
  for i = 1, #list, 2 do map[list[i]] = list[i + 1] end
  return map
end
local function consumers()
  local all = {}
  for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do all[#all + 1] = named(each) end
  return all
end
local function cutOf(name, kind)
  local prefix = (kind or '') .. consumer .. ':cut:'
  if string.sub(name, 1, #prefix) == prefix then return tonumber(string.sub(name, #prefix + 1)) end
end
local function pendingOf(name, count)
  local ids = {}
  for _, each in ipairs(redis.call('XPENDING', stream, group, '-', '+', count, name)) do ids[#ids + 1] = each[1] end
  return ids
end
local function missingOf(ids)
  for _, id in ipairs(ids) do
    if #redis.call('XRANGE', stream, id, id) == 0 then return id end
  end
end
local function goneFields()
  local fields = {}
  for _, field in ipairs(redis.call('HKEYS', note)) do
    if cutOf(field, 'gone:') then fields[#fields + 1] = field end
  end
  return fields
end
local function acknowledge(until_)
  for _, each in ipairs(consumers()) do
    local cut = cutOf(each.name)
    if cut and cut <= until_ then
      repeat
        local ids = pendingOf(each.name, 500)
        if #ids > 0 then redis.call('XACK', stream, group, unpack(ids)) end
      until #ids == 0
      redis.call('XGROUP', 'DELCONSUMER', stream, group, each.name)
    end
  end
  for _, field in ipairs(goneFields()) do
    if cutOf(field, 'gone:') <= until_ then redis.call('HDEL', note, field) end
  end
  local acked = tonumber(redis.call('HGET', note, 'acked:' .. consumer) or '0')
  if until_ > acked then redis.call('HSET', note, 'acked:' .. consumer, until_) end
end
`

/**
 * Makes the group where there is none, takes the consumer over, acknowledges what is in the cut that is gone on from, and takes back what is in later
 * ones. ARGV: group, consumer, owner, cut, 'strict' or 'loose', 'earliest' or 'latest', how often it was opened before.
 */
export const OPEN: string = `${COMMON}
local wanted, before = tonumber(ARGV[4]), tonumber(ARGV[7])
local opened = tonumber(redis.call('HGET', note, 'opened:' .. consumer) or '0')
local function done()
  local acked = tonumber(redis.call('HGET', note, 'acked:' .. consumer) or '0')
  return {'DONE', math.max(acked, wanted), named(redis.call('XINFO', 'STREAM', stream))['last-generated-id']}
end
if owns() and opened == before + 1 then return done() end
if opened ~= before then return {'LATE'} end
if not hasGroup() then
  if wanted > 0 and ARGV[5] == 'strict' then return {'NOGROUP'} end
  local gone, from = 0, '0'
  if redis.call('EXISTS', stream) == 1 then
    local info = named(redis.call('XINFO', 'STREAM', stream))
    gone = info['entries-added'] - info.length
    if ARGV[6] == 'latest' then gone, from = info['entries-added'], info['last-generated-id'] end
  end
  redis.call('XGROUP', 'CREATE', stream, group, from, 'MKSTREAM', 'ENTRIESREAD', gone)
end
local acked = tonumber(redis.call('HGET', note, 'acked:' .. consumer) or '0')
if acked > wanted and ARGV[5] == 'strict' then return {'ACKED', acked} end
redis.call('HSET', note, 'owner:' .. consumer, owner)
acknowledge(wanted)
for _, field in ipairs(goneFields()) do
  if ARGV[5] == 'strict' then return {'LOST', string.match(redis.call('HGET', note, field), '%S+')} end
  redis.call('HDEL', note, field)
end
for _, each in ipairs(consumers()) do
  if cutOf(each.name) then
    repeat
      local ids = pendingOf(each.name, 500)
      local gone = missingOf(ids)
      if gone and ARGV[5] == 'strict' then return {'LOST', gone} end
      if #ids > 0 then redis.call('XCLAIM', stream, group, consumer, 0, unpack(ids)) end
    until #ids == 0
    redis.call('XGROUP', 'DELCONSUMER', stream, group, each.name)
  end
end
redis.call('XGROUP', 'CREATECONSUMER', stream, group, consumer)
redis.call('HSET', note, 'opened:' .. consumer, before + 1)
return done()
`

/** The next entries. ARGV: group, consumer, owner, count, the id behind which its own ones are given again, or '', 'strict' or 'loose'. */
export const READ: string = `${COMMON}
if not owns() then return fenced() end
if not hasGroup() then return {'NOGROUP'} end
local again, isStrict = ARGV[5], ARGV[6] == 'strict'
local last = ''
for _, each in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
  local info = named(each)
  if info.name == group then
    last = info['last-delivered-id']
    if isStrict and again == '' then
      local about = named(redis.call('XINFO', 'STREAM', stream))
      local gone, read = about['entries-added'] - about.length, info['entries-read']
      local hasLast = last == about['last-generated-id'] or #redis.call('XRANGE', stream, last, last) > 0
      local isNextGone = #redis.call('XRANGE', stream, '-', last, 'COUNT', 1) == 0
      if not hasLast and isNextGone and (not read or read < gone) then
        return {'TRIMMED', last, about['first-entry'] and about['first-entry'][1] or ''}
      end
    end
  end
end
local command = {'XREADGROUP', 'GROUP', group, consumer, 'COUNT', ARGV[4], 'STREAMS', stream, again == '' and '>' or again}
local found = redis.call(unpack(command))
local entries = found and found[1] and found[1][2] or {}
if #entries > 0 and again == '' then last = entries[#entries][1] end
return {'DONE', last, entries}
`

/** Entries of consumers that were not heard of. ARGV: group, consumer, owner, count, for how many milliseconds, 'strict' or 'loose'. */
export const CLAIM: string = `${COMMON}
if not owns() then return fenced() end
if not hasGroup() then return {'NOGROUP'} end
local left = tonumber(ARGV[4])
local claimed = {}
for _, each in ipairs(consumers()) do
  if left > 0 and each.name ~= consumer and not string.find(each.name, ':cut:', 1, true) and each.pending > 0 and each.idle >= tonumber(ARGV[5]) then
    local ids = pendingOf(each.name, left)
    local gone = missingOf(ids)
    if gone and ARGV[6] == 'strict' then return {'LOST', gone} end
    for _, entry in ipairs(redis.call('XCLAIM', stream, group, consumer, 0, unpack(ids))) do
      claimed[#claimed + 1] = entry
      left = left - 1
    end
  end
end
return {'DONE', '', claimed}
`

/**
 * Moves entries to a cut. What was trimmed meanwhile cannot be moved, and is pending no more: it is noted, so that it is not taken for what somebody
 * else has claimed, and is missed where the cut is not published. ARGV: group, consumer, owner, cut, ids.
 */
export const PREPARE: string = `${COMMON}
if not owns() then return fenced() end
if not hasGroup() then return {'NOGROUP'} end
local target = consumer .. ':cut:' .. ARGV[4]
local noted = redis.call('HGET', note, 'gone:' .. target) or ''
local gone, ids, moved = {}, {}, {}
for id in string.gmatch(noted, '%S+') do gone[id] = true end
for i = 5, #ARGV do
  local found = redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1)[1]
  if not gone[ARGV[i]] and (not found or (found[2] ~= consumer and found[2] ~= target)) then return {'TAKEN', ARGV[i]} end
  if found and found[2] == consumer then ids[#ids + 1] = ARGV[i] end
end
if #ids == 0 then return {'DONE'} end
ids[#ids + 1] = 'JUSTID'
for _, id in ipairs(redis.call('XCLAIM', stream, group, target, 0, unpack(ids))) do moved[id] = true end
for i = 1, #ids - 1 do
  if not moved[ids[i]] then noted = noted .. ' ' .. ids[i] end
end
if noted ~= '' then redis.call('HSET', note, 'gone:' .. target, noted) end
return {'DONE'}
`

/** Acknowledges what is in a cut, and in those before. ARGV: group, consumer, owner, cut. */
export const ACKNOWLEDGE: string = `${COMMON}
if not owns() then return fenced() end
if not hasGroup() then return {'NOGROUP'} end
acknowledge(tonumber(ARGV[4]))
return {'DONE'}
`
