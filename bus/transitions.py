"""The ledger's transitions as Lua, each atomic on Redis.

KEYS of every script: 1 the weighing's record (a hash), 2 the unfinished weighings (a sorted set
from id to when the sweeper must check it), 3 the audit stream. Times are Redis's own, in
milliseconds, so that no worker's clock matters. `token` is the fencing token: it grows with every
claim, and writes with an older one are refused. Every script is safe to repeat.
"""

AUDIT_LENGTH = 10_000  # the fewest lines that the audit stream keeps

NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

_PRELUDE = f"""
{NOW}
local record, unfinished, audit = KEYS[1], KEYS[2], KEYS[3]
local function log(id, state, note)
  redis.call('XADD', audit, 'MAXLEN', '~', {AUDIT_LENGTH}, '*',
             'id', id, 'state', state, 'note', note)
end
local function holds(token)
  return redis.call('HGET', record, 'state') == 'running'
     and redis.call('HGET', record, 'token') == token
end
local function leave()
  redis.call('HDEL', record, 'token', 'expires', 'holder', 'progress')
end
local function queue_again(id)
  redis.call('HSET', record, 'state', 'queued', 'attempts', 0, 'queued_at', now)
  redis.call('PERSIST', record)
  redis.call('ZADD', unfinished, now, id)
end
"""

# ARGV: id, gate, event, grace (ms), force (0 or 1). KEYS 4: all weighings, by time of opening. The
# grace is the time before the sweeper checks whether the task was lost.
OPEN = (
    _PRELUDE
    + """
local state = redis.call('HGET', record, 'state')
if state == 'queued' or state == 'running' then return 0 end
if state and ARGV[5] == '0' then return 0 end
redis.call('DEL', record)
redis.call('HSET', record, 'state', 'queued', 'gate', ARGV[2], 'event', ARGV[3],
           'attempts', 0, 'opened_at', now, 'queued_at', now)
redis.call('ZADD', unfinished, now + ARGV[4], ARGV[1])
redis.call('ZADD', KEYS[4], time[1] * 1000 + time[2] / 1000, ARGV[1])
log(ARGV[1], 'queued', 'opened')
return 1
"""
)

# ARGV: id, lease (ms), holder. KEYS 4: the token counter. Returns the token, or nil if the weighing
# may not run.
CLAIM = (
    _PRELUDE
    + """
local state = redis.call('HGET', record, 'state')
local expires = tonumber(redis.call('HGET', record, 'expires') or '0')
if state ~= 'queued' and not (state == 'running' and expires < now) then return nil end
local token = tostring(redis.call('INCR', KEYS[4]))
redis.call('HSET', record, 'state', 'running', 'token', token, 'expires', now + ARGV[2],
           'holder', ARGV[3], 'started_at', now)
redis.call('HDEL', record, 'progress', 'waiting')
redis.call('HINCRBY', record, 'attempts', 1)
redis.call('ZADD', unfinished, now + ARGV[2], ARGV[1])
log(ARGV[1], 'running', 'claimed by ' .. ARGV[3] .. ' with token ' .. token)
return token
"""
)

# ARGV: id, token, lease (ms), progress (JSON, or empty if unchanged). Returns 1, or 0 if the lease
# was lost.
RENEW = (
    _PRELUDE
    + """
if not holds(ARGV[2]) then return 0 end
redis.call('HSET', record, 'expires', now + ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', record, 'progress', ARGV[4]) end
redis.call('ZADD', unfinished, now + ARGV[3], ARGV[1])
return 1
"""
)

# ARGV: id, token, outcome, verdict (JSON), reason, how long to keep it (ms). Returns 1, or 0 if the
# lease was lost. The outcome may be 'awaiting approval', which only DECIDE can leave.
END = (
    _PRELUDE
    + """
if not holds(ARGV[2]) then return 0 end
redis.call('HSET', record, 'state', ARGV[3], 'verdict', ARGV[4], 'reason', ARGV[5],
           'ended_at', now)
leave()
redis.call('PEXPIRE', record, ARGV[6])
redis.call('ZREM', unfinished, ARGV[1])
log(ARGV[1], ARGV[3], ARGV[5])
return 1
"""
)

# ARGV: id, decision (JSON), note. Returns 1, or 0 if the weighing does not await approval. It is
# due at once: the sweeper sends the task if the command that decided could not.
DECIDE = (
    _PRELUDE
    + """
if redis.call('HGET', record, 'state') ~= 'awaiting approval' then return 0 end
redis.call('HSET', record, 'decision', ARGV[2])
queue_again(ARGV[1])
log(ARGV[1], 'queued', ARGV[3])
return 1
"""
)

# ARGV: id. Returns 1, or 0 if the weighing has not failed. The failure's verdict is deleted, unless
# a person decided: then the verdict is kept, because the decision is applied again.
RETRY = (
    _PRELUDE
    + """
if redis.call('HGET', record, 'state') ~= 'failed' then return 0 end
if redis.call('HEXISTS', record, 'decision') == 0 then redis.call('HDEL', record, 'verdict') end
redis.call('HDEL', record, 'ended_at', 'reason')
queue_again(ARGV[1])
log(ARGV[1], 'queued', 'retried')
return 1
"""
)

# ARGV: id, token, delay (ms), reason. The weighing is queued; the sweeper sends its task after the
# delay.
RELEASE = (
    _PRELUDE
    + """
if not holds(ARGV[2]) then return 0 end
redis.call('HSET', record, 'state', 'queued', 'waiting', now + ARGV[3], 'reason', ARGV[4])
leave()
redis.call('ZADD', unfinished, now + ARGV[3], ARGV[1])
log(ARGV[1], 'queued', ARGV[4])
return 1
"""
)

# ARGV: id, grace (ms), whether the queue lacks tasks (0 or 1). Returns 1 if its task must be sent
# again: its lease or its delay has expired, or it is queued and its task may be lost.
REQUEUE = (
    _PRELUDE
    + """
local due = tonumber(redis.call('ZSCORE', unfinished, ARGV[1]) or 'inf')
if due > now then return 0 end
local state = redis.call('HGET', record, 'state')
if not state then redis.call('ZREM', unfinished, ARGV[1]) return 0 end
redis.call('ZADD', unfinished, now + ARGV[2], ARGV[1])
if state == 'running' then
  redis.call('HSET', record, 'state', 'queued', 'reason', 'the worker was lost')
  leave()
  log(ARGV[1], 'queued', 'the lease expired')
  return 1
end
if redis.call('HDEL', record, 'waiting') == 1 then return 1 end
return tonumber(ARGV[3])
"""
)

# KEYS: 1 all weighings, by time of opening. ARGV: how long records are kept (ms), prefix of a
# record's key, limit. Removes the weighings whose records have expired.
PRUNE = (
    NOW
    + """
local old = now - ARGV[1]
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', old, 'LIMIT', 0, ARGV[3])) do
  if redis.call('EXISTS', ARGV[2] .. id) == 0 then redis.call('ZREM', KEYS[1], id) end
end
"""
)
