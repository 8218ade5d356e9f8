-- One step of a replica. All that the replicas share changes here and nowhere else, so that each step is atomic.
--
-- KEYS: the account (hash); the slots of the endpoint's budgets, versions v1 and v2 of the API (sorted sets: a token by the
--       millisecond at which its slot is free); the feed (hash).
-- ARGV: the step; its arguments as JSON; the state to write, which only replicas can read.
-- Returns the answer as JSON, and a state. Times are milliseconds, moments those of the store's clock.
local LIFE = 7 * 24 * 3600 * 1000
local WINDOW = 60 * 1000
-- Later moments are not ours: pauses last an hour at most.
local MAX_FUTURE = 2 * 3600 * 1000
-- No lease or slot lasts longer: a request takes a minute at most, and counts for another one.
local MAX_HELD = 10 * 60 * 1000
-- After so long without a fetch, the next one needs more than one request.
local CATCH_UP = 5 * 60 * 1000
-- The tokens of what replicas have sent without the store begin so.
local ALONE = 'alone:'
-- How long a state of a newer format is left alone after an exporter that can read it has asked for it, or was free to.
local ABANDONED = 10 * 60 * 1000

local args = cjson.decode(ARGV[2])
local account, feed = KEYS[1], KEYS[4]
local slots = { v1 = KEYS[2], v2 = KEYS[3] }
local pause_of_endpoint = 'pause:' .. args.endpoint
local short_pauses = 'short_pauses:' .. args.endpoint
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- What is not ours is removed.
for index, kind in ipairs({ 'hash', 'zset', 'zset', 'hash' }) do
  local found = redis.call('TYPE', KEYS[index]).ok
  if found ~= kind and found ~= 'none' then
    redis.call('DEL', KEYS[index])
  end
end

local function number(key, field)
  local value = tonumber(redis.call('HGET', key, field) or '')
  if value and value >= 0 and value < 2 ^ 53 then
    return math.floor(value)
  end
  return 0
end

local function set(key, field, value)
  redis.call('HSET', key, field, string.format('%.0f', value))
  redis.call('PEXPIRE', key, LIFE)
end

local function moment(key, field)
  local value = number(key, field)
  return value <= now + MAX_FUTURE and value or 0
end

local function lengthen(field, duration)
  set(account, field, math.max(moment(account, field), now + duration))
end

local function answer(status, more, state)
  more = more or {}
  more.status = status
  more.now = now
  more.pause = moment(account, 'pause')
  more.endpoint_pause = moment(account, pause_of_endpoint)
  more.refusal = redis.call('HGET', account, 'refusal') or nil
  return { cjson.encode(more), state or '' }
end

-- What another replica needs to take the feed over.
local function record()
  return {
    version = number(feed, 'version'),
    queries = number(feed, 'shown_queries'),
    hits = number(feed, 'shown_hits'),
  }
end

-- Leaves only the slots that are taken.
local function clean(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  redis.call('ZREMRANGEBYSCORE', key, now + MAX_HELD, '+inf')
end

-- Takes a slot that is free or will be within the patience. Returns how long to wait for it; nil if there is none.
local function take(version)
  local counting = version == 'v2' and { 'v1', 'v2' } or { 'v1' }
  local longest = 0
  local freed = {}
  for _, name in ipairs(counting) do
    local key = slots[name]
    clean(key)
    local surplus = redis.call('ZCARD', key) + 1 - args.budgets[name]
    if surplus > 0 then
      local last = redis.call('ZRANGE', key, surplus - 1, surplus - 1, 'WITHSCORES')
      if not last[2] then
        return nil
      end
      freed[name] = last[1]
      longest = math.max(longest, last[2] - now)
    end
  end
  if longest > args.patience then
    return nil
  end
  for _, name in ipairs(counting) do
    if freed[name] then
      redis.call('ZREM', slots[name], freed[name])
    end
    -- A replica that dies before the answer frees the slot by this.
    redis.call('ZADD', slots[name], now + longest + args.hold, args.token)
    redis.call('PEXPIRE', slots[name], LIFE)
  end
  return longest
end

local function is_paused()
  return moment(account, 'pause') > now or moment(account, pause_of_endpoint) > now
end

-- Counts what this replica has sent without the store.
local function count_alone()
  for version, key in pairs(slots) do
    local held = args.alone[version]
    if held > 0 then
      redis.call('ZADD', key, now + held, ALONE .. args.replica)
      redis.call('PEXPIRE', key, LIFE)
    end
  end
end

-- Whether what replicas have sent without the store still counts.
local function was_alone()
  for _, key in pairs(slots) do
    clean(key)
    for _, token in ipairs(redis.call('ZRANGE', key, 0, -1)) do
      if string.sub(token, 1, #ALONE) == ALONE then
        return true
      end
    end
  end
  return false
end

-- Whether the state is that of newer exporters, of which one is still there.
local function is_newer()
  if number(feed, 'format') <= args.format then
    return false
  end
  local pause = math.max(moment(feed, 'pause'), moment(account, 'pause'), moment(account, pause_of_endpoint))
  return now < math.max(moment(feed, 'asked'), pause) + ABANDONED
end

-- Whether the store has lost the state, and waits for the replica that knows the newest one. All have some time to say what
-- they know, and that one as much again to write it.
local function is_waiting(version)
  local highest = math.max(number(feed, 'highest'), args.known)
  if version >= highest then
    return false
  end
  local lost_at = number(feed, 'lost_at')
  if lost_at == 0 or lost_at > now then
    lost_at = now
  end
  set(feed, 'highest', highest)
  set(feed, 'lost_at', lost_at)
  local patience = (args.known < highest and 2 or 1) * args.search
  return now < lost_at + patience
end

local steps = {}

-- Asks for the lease of a feed with a slot, or for what another replica has fetched.
function steps.begin()
  -- A store that stood still executes this long after the replica has given up.
  if args.expires > 0 and now > args.expires then
    return answer('late')
  end
  local api = args.may_change and redis.call('HEXISTS', account, 'refusal') == 1 and 'v2' or args.api
  count_alone()
  if is_newer() then
    -- It goes on by itself, within the common budget.
    local wait = not is_paused() and take(api)
    return answer('newer_format', wait and { has_slot = true, wait = wait, api = api })
  end
  if number(feed, 'format') > args.format then
    -- After a rollback. What cannot be read is of no use.
    redis.call('DEL', feed)
  end
  set(feed, 'asked', now)
  -- A store that has lost them learns them from the replicas.
  set(feed, 'queries', math.max(number(feed, 'queries'), args.known_queries) + args.queries)
  set(feed, 'hits', math.max(number(feed, 'hits'), args.known_hits) + args.hits)
  local found = record()
  if is_waiting(found.version) then
    return answer('lost')
  end
  local state = found.version > args.known and redis.call('HGET', feed, 'state') or nil
  local fetched = number(feed, 'fetched')
  local is_fresh = fetched <= now and now < fetched + args.ttl
  if not args.force and (is_fresh or now < moment(feed, 'pause')) then
    found.is_fresh = is_fresh
    return answer('taken', found, state)
  end
  local lease_until = moment(feed, 'lease_until')
  -- Its own, if the answer to this step was lost and the replica asks again.
  if lease_until > now and lease_until < now + MAX_HELD and redis.call('HGET', feed, 'lease') ~= args.token then
    return answer('fetching', found, state)
  end
  -- The calls of a long time are on several pages, which need all slots.
  local is_early = fetched > 0 and now - fetched > CATCH_UP and was_alone()
  local wait = not is_early and not is_paused() and take(api)
  if not wait then
    return answer('refused', found, state)
  end
  redis.call('HSET', feed, 'lease', args.token)
  set(feed, 'lease_until', now + wait + args.lease)
  found.wait = wait
  found.api = api
  return answer('granted', found, state)
end

-- Asks for one more slot within a flight, and keeps its lease.
function steps.more()
  if args.expires > 0 and now > args.expires then
    return answer('late')
  end
  if redis.call('HGET', feed, 'lease') ~= args.flight or is_paused() or not take(args.api) then
    return answer('refused')
  end
  set(feed, 'lease_until', now + args.lease)
  return answer('granted', { wait = 0, api = args.api })
end

-- Notes the end of a request: its slot is free a minute later.
function steps.finish()
  for _, key in pairs(slots) do
    redis.call('ZADD', key, 'XX', now + WINDOW, args.token)
  end
  if args.verdict == 'good' then
    redis.call('HDEL', account, short_pauses)
  elseif args.verdict == 'pause_account' then
    lengthen('pause', args.duration)
  elseif args.verdict == 'pause_endpoint' then
    local duration = args.duration
    if moment(account, pause_of_endpoint) <= now then
      if duration < args.short then
        local count = number(account, short_pauses)
        duration = math.min(duration * 2 ^ math.min(count, 30), args.max_pause)
        set(account, short_pauses, count + 1)
      else
        redis.call('HDEL', account, short_pauses)
      end
    end
    lengthen(pause_of_endpoint, duration)
  end
  return answer('done')
end

-- Frees a slot at once: no request was sent.
function steps.give_back()
  for _, key in pairs(slots) do
    redis.call('ZREM', key, args.token)
  end
  return answer('done')
end

-- Goes over to version v2 of the API.
function steps.change()
  local is_change = redis.call('HSETNX', account, 'refusal', args.refusal_of_v1) == 1
  redis.call('PEXPIRE', account, LIFE)
  return answer(is_change and 'done' or 'refused')
end

-- Writes what a flight has brought, if its lease is still its own.
function steps.commit()
  if redis.call('HGET', feed, 'lease') ~= args.token then
    local found = record()
    return answer('fenced', found, redis.call('HGET', feed, 'state') or nil)
  end
  local version = math.max(now, number(feed, 'version') + 1, args.known + 1)
  local queries, hits = number(feed, 'queries'), number(feed, 'hits')
  redis.call('HSET', feed, 'state', ARGV[3])
  redis.call('HDEL', feed, 'lease', 'lease_until', 'highest', 'lost_at')
  set(feed, 'format', args.format)
  set(feed, 'version', version)
  set(feed, 'fetched', args.fetched)
  set(feed, 'pause', args.pause_of_server)
  set(feed, 'shown_queries', queries)
  set(feed, 'shown_hits', hits)
  return answer('done', { version = version, queries = queries, hits = hits })
end

return steps[ARGV[1]]()
