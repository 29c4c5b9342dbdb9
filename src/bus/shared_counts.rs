//! What all nodes count together in Redis: how much somebody has spent. Redis' own clock decides, and each key ends with what it counts.

use std::time::Duration;

use super::packet::NodeId;

/// A bucket that drips (GCRA): the key is the time at which all that was spent will have been paid for. What was spent beyond the
/// burst is paid for too, so that spending on several nodes at once gains nothing in the long run.
const BUCKET: &str = "
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local n, interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local paid = tonumber(redis.call('GET', KEYS[1]) or now)
if paid < now then paid = now end
if n > 0 then
  paid = paid + n * interval
  redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + 1)
end
return math.max(0, math.ceil((paid + interval - burst * interval - now) / 1000))";

/// Exactly so many in any stretch of time: the key holds the time of each.
const WINDOW: &str = "
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local n, count, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - per)
for i = 1, n do redis.call('ZADD', KEYS[1], now, ARGV[4] .. ':' .. t[1] .. ':' .. t[2] .. ':' .. i) end
if n > 0 then redis.call('PEXPIRE', KEYS[1], per) end
local taken = redis.call('ZCARD', KEYS[1])
if taken < count then return 0 end
local oldest = redis.call('ZRANGE', KEYS[1], taken - count, taken - count, 'WITHSCORES')
return math.max(0, math.ceil(oldest[2] + per - now))";

/// How something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedRule {
    /// So many at once, and one more in every interval.
    Bucket {
        /// At once.
        burst: u32,
        /// Between two after that.
        interval: Duration,
    },
    /// So many in any stretch of this length.
    Window {
        /// How many.
        count: u32,
        /// In which time.
        per: Duration,
    },
}

/// What was spent of something since the last time.
#[derive(Clone, Debug)]
pub struct Spent {
    /// What and whose.
    pub key: String,
    /// How much; nothing only asks.
    pub n: u32,
    /// How it is counted.
    pub rule: SharedRule,
}

/// The question whose answers are the milliseconds until more may be spent, one each.
pub(super) fn question(prefix: &str, me: &NodeId, spent: &[Spent]) -> redis::Pipeline {
    let mut pipe = redis::pipe();
    for Spent { key, n, rule } in spent {
        let key = format!("{prefix}spent:{key}");
        match rule {
            SharedRule::Bucket { burst, interval } => {
                let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
                pipe.cmd("EVAL").arg(BUCKET).arg(1).arg(key).arg(*n).arg(interval_us).arg(*burst)
            }
            SharedRule::Window { count, per } => {
                let per_ms = u64::try_from(per.as_millis()).unwrap_or(u64::MAX);
                pipe.cmd("EVAL").arg(WINDOW).arg(1).arg(key).arg(*n).arg(*count).arg(per_ms).arg(me.to_string())
            }
        };
    }
    pipe
}
