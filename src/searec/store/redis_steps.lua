-- One atomic step of the store in Redis; see store.py for what each means and redis_store.py for who calls it.
--
-- KEYS: the queue's eight keys, then those of users' values.
-- ARGV: name of the step, now (microseconds; empty for the server's own time), then the step's arguments.
--
-- ready     sorted set  user by priority and place in the queue
-- waiting   sorted set  user by the time from which the job is ready
-- leased    sorted set  user by the end of the lease
-- shelf     sorted set  user by the time it was laid there
-- jobs      hash        user -> job: p priority, q place, r reason, n attempts, f faults, a alone, t token, w worker, g again, e error
-- made      sorted set  user by the time the interests were written
-- marked    sorted set  the same, of users marked as stale
-- about     hash        clock, the latest time seen; number, the last token and place in the queue given out
--
-- A user's value is "<time, 16 digits><1 if marked><revision, 10 digits><served>", so that a read is one GET.
local READY, WAITING, LEASED, SHELF, JOBS, MADE, MARKED, ABOUT = unpack(KEYS, 1, 8)
local FIRST = 9          -- key of the first value
local SECOND = 1e6
local PLACES = 1e15      -- more places than will be given out; with a priority in front it still fits a double

local function text(number) return string.format('%.0f', number) end

local function get(user)
  local stored = redis.call('HGET', JOBS, user)
  return stored and cjson.decode(stored)
end

local function put(user, job) redis.call('HSET', JOBS, user, cjson.encode(job)) end

local function number() return redis.call('HINCRBY', ABOUT, 'number', 1) end

-- A clock that was set back takes all deadlines with it, so that nobody waits for the time it has lost.
local function time()
  local now = tonumber(ARGV[2])
  if not now then
    local parts = redis.call('TIME')
    now = tonumber(parts[1]) * 1e6 + tonumber(parts[2])
  end
  local latest = tonumber(redis.call('HGET', ABOUT, 'clock') or '0')
  if now < latest - SECOND then
    for _, key in ipairs({WAITING, LEASED}) do
      local all = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
      for i = 1, #all, 2 do redis.call('ZADD', key, tonumber(all[i + 1]) - (latest - now), all[i]) end
    end
  end
  if now < latest - SECOND or now > latest + SECOND then redis.call('HSET', ABOUT, 'clock', text(now)) end
  return now
end

local function ready(user, job)
  job.t, job.w = nil, nil
  put(user, job)
  redis.call('ZADD', READY, job.p * PLACES + job.q, user)
end

local function when(user, job, not_before, now)
  if not_before > now then
    put(user, job)
    redis.call('ZADD', WAITING, not_before, user)
  else
    ready(user, job)
  end
end

local function shelve(user, job, now)
  job.t, job.w, job.g = nil, nil, nil
  put(user, job)
  redis.call('ZADD', SHELF, now, user)
end

-- The job, if this token holds its lease.
local function held(user, token)
  if not redis.call('ZSCORE', LEASED, user) then return nil end
  local job = get(user)
  return job.t == tonumber(token) and job or nil
end

local function age(made, now) return math.abs(now - made) end

local function is_fresh(key, now, life)
  local head = redis.call('GETRANGE', key, 0, 16)
  return #head == 17 and string.sub(head, 17) == '0' and age(tonumber(string.sub(head, 1, 16)), now) < life
end

local function keep(user, value_key, graph_key, served, graph, now)
  local revision = tonumber(redis.call('GETRANGE', value_key, 17, 26)) or 0
  redis.call('SET', value_key, string.format('%016.0f', now) .. '0' .. string.format('%010.0f', revision + 1) .. served)
  redis.call('SET', graph_key, graph)
  redis.call('ZADD', MADE, now, user)
  redis.call('ZREM', MARKED, user)
end

local function forget(user, value_key, graph_key)
  redis.call('DEL', value_key, graph_key)
  redis.call('ZREM', MADE, user)
  redis.call('ZREM', MARKED, user)
end

local function add(user, reason, priority, not_before, now)
  when(user, {p = priority, q = number(), r = reason, n = 0, f = 0}, not_before, now)
end

local steps = {}

-- user, served, graph, ...; keys: value and graph of each
function steps.write()
  local now = time()
  for i = 3, #ARGV, 3 do
    local key = FIRST + (i - 3) / 3 * 2
    keep(ARGV[i], KEYS[key], KEYS[key + 1], ARGV[i + 1], ARGV[i + 2], now)
  end
end

-- life, users; keys: their values
function steps.mark()
  local now, marked = time(), 0
  for i = 4, #ARGV do
    local key = KEYS[FIRST + i - 4]
    local head = redis.call('GETRANGE', key, 0, 16)
    if #head == 17 and string.sub(head, 17) == '0' then
      if is_fresh(key, now, tonumber(ARGV[3])) then marked = marked + 1 end
      redis.call('SETRANGE', key, 16, '1')
      redis.call('ZADD', MARKED, tonumber(string.sub(head, 1, 16)), ARGV[i])
    end
  end
  return marked
end

-- microseconds; users written longer ago than that, up to 500
function steps.old()
  return redis.call('ZRANGEBYSCORE', MADE, '-inf', '(' .. text(time() - tonumber(ARGV[3])), 'LIMIT', 0, 500)
end

-- microseconds, users; keys: value and graph of each
function steps.prune()
  local now, pruned = time(), 0
  for i = 4, #ARGV do
    local made, key = redis.call('ZSCORE', MADE, ARGV[i]), FIRST + (i - 4) * 2
    if made and tonumber(made) < now - tonumber(ARGV[3]) then
      forget(ARGV[i], KEYS[key], KEYS[key + 1])
      pruned = pruned + 1
    end
  end
  return pruned
end

-- users; keys: value and graph of each
function steps.forget()
  for i = 3, #ARGV do
    local key = FIRST + (i - 3) * 2
    forget(ARGV[i], KEYS[key], KEYS[key + 1])
    for _, queue in ipairs({READY, WAITING, LEASED, SHELF}) do redis.call('ZREM', queue, ARGV[i]) end
    redis.call('HDEL', JOBS, ARGV[i])
  end
end

-- reason, priority, 1 if it is news, not before, life, users; keys: their values
function steps.enqueue()
  local now, added = time(), 0
  local reason, priority, news = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
  local not_before, life = tonumber(ARGV[6]), tonumber(ARGV[7])
  for i = 8, #ARGV do
    local user = ARGV[i]
    if news or not is_fresh(KEYS[FIRST + i - 8], now, life) then
      local job = get(user)
      if not job then
        add(user, reason, priority, not_before, now)
        added = added + 1
      elseif redis.call('ZSCORE', LEASED, user) then
        if news and not job.g then
          job.g = {r = reason, p = priority}
          put(user, job)
          added = added + 1
        end
      elseif not redis.call('ZSCORE', SHELF, user) then
        local until_, changed = redis.call('ZSCORE', WAITING, user), false
        if priority < job.p then
          job.p, job.r, changed = priority, reason, true
        end
        if not until_ then
          if changed then ready(user, job) end
        elseif job.n == 0 and not_before < tonumber(until_) then
          redis.call('ZREM', WAITING, user)
          when(user, job, not_before, now)
        elseif changed then
          put(user, job)
        end
      end
    end
  end
  return added
end

-- worker, count, microseconds, faults that are too many; returns user, reason, attempt, token, ...
function steps.lease()
  local now, count = time(), tonumber(ARGV[4])
  for _, user in ipairs(redis.call('ZRANGEBYSCORE', LEASED, '-inf', now, 'LIMIT', 0, 1000)) do
    local job = get(user)
    redis.call('ZREM', LEASED, user)
    job.f, job.a, job.g, job.e = job.f + 1, true, nil, 'the lease of worker ' .. job.w .. ' ran out'
    if job.f >= tonumber(ARGV[6]) then shelve(user, job, now) else ready(user, job) end
  end
  for _, user in ipairs(redis.call('ZRANGEBYSCORE', WAITING, '-inf', now, 'LIMIT', 0, 1000)) do
    redis.call('ZREM', WAITING, user)
    ready(user, get(user))
  end
  local given = {}
  for place, user in ipairs(redis.call('ZRANGE', READY, 0, count - 1)) do
    local job = get(user)
    if job.a and place > 1 then break end
    local alone = job.a
    job.n, job.t, job.w = job.n + 1, number(), ARGV[3]
    put(user, job)
    redis.call('ZREM', READY, user)
    redis.call('ZADD', LEASED, now + tonumber(ARGV[5]), user)
    for _, part in ipairs({user, job.r, job.n, job.t}) do given[#given + 1] = part end
    if alone then break end
  end
  return given
end

-- microseconds, user, token, ...; returns 1 or 0 for each
function steps.extend()
  local now, kept = time(), {}
  for i = 4, #ARGV, 2 do
    local mine = held(ARGV[i], ARGV[i + 1])
    if mine then redis.call('ZADD', LEASED, now + tonumber(ARGV[3]), ARGV[i]) end
    kept[#kept + 1] = mine and 1 or 0
  end
  return kept
end

-- user, token, served, graph; keys: value and graph
function steps.complete()
  local now, user = time(), ARGV[3]
  local job = held(user, ARGV[4])
  if not job then return 0 end
  keep(user, KEYS[FIRST], KEYS[FIRST + 1], ARGV[5], ARGV[6], now)
  redis.call('ZREM', LEASED, user)
  redis.call('HDEL', JOBS, user)
  if job.g then add(user, job.g.r, job.g.p, 0, now) end
  return 1
end

-- user, token, error, 1 if the job is to blame, microseconds to wait, faults that are too many
function steps.fail()
  local now, user = time(), ARGV[3]
  local job = held(user, ARGV[4])
  if not job then return 0 end
  local blame = ARGV[6] == '1'
  redis.call('ZREM', LEASED, user)
  job.e, job.a, job.g, job.t, job.w = ARGV[5], not blame, nil, nil, nil
  if blame then job.f = job.f + 1 end
  if blame and job.f >= tonumber(ARGV[8]) then
    shelve(user, job, now)
  else
    put(user, job)
    redis.call('ZADD', WAITING, now + tonumber(ARGV[7]), user)
  end
  return 1
end

-- user, token, ...
function steps.release()
  local released = 0
  for i = 3, #ARGV, 2 do
    local job = held(ARGV[i], ARGV[i + 1])
    if job then
      redis.call('ZREM', LEASED, ARGV[i])
      job.n, job.g = job.n - 1, nil
      ready(ARGV[i], job)
      released = released + 1
    end
  end
  return released
end

-- limit; returns user, job, since, ...
function steps.poisoned()
  local found, all = {}, redis.call('ZRANGE', SHELF, 0, tonumber(ARGV[3]) - 1, 'WITHSCORES')
  for i = 1, #all, 2 do
    for _, part in ipairs({all[i], redis.call('HGET', JOBS, all[i]), text(tonumber(all[i + 1]))}) do found[#found + 1] = part end
  end
  return found
end

-- 'revive' or 'drop', users
function steps.shelf()
  local changed = 0
  for i = 4, #ARGV do
    if redis.call('ZREM', SHELF, ARGV[i]) == 1 then
      changed = changed + 1
      if ARGV[3] == 'drop' then
        redis.call('HDEL', JOBS, ARGV[i])
      else
        local job = get(ARGV[i])
        job.n, job.f, job.a, job.e = 0, 0, true, nil
        ready(ARGV[i], job)
      end
    end
  end
  return changed
end

-- life
function steps.counts()
  local now, life = time(), tonumber(ARGV[3])
  local from, to = '(' .. text(now - life), '(' .. text(now + life)
  local due, over = redis.call('ZCOUNT', WAITING, '-inf', now), redis.call('ZCOUNT', LEASED, '-inf', now)
  return {
    redis.call('ZCARD', MADE),
    redis.call('ZCOUNT', MADE, from, to) - redis.call('ZCOUNT', MARKED, from, to),
    redis.call('ZCARD', READY) + due + over,
    redis.call('ZCARD', WAITING) - due,
    redis.call('ZCARD', LEASED) - over,
    redis.call('ZCARD', SHELF),
  }
end

return steps[ARGV[1]]()
