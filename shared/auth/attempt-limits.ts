/** Limits how often something may be attempted. The counters are rows of Postgres, shared by all processes and kept over restarts. */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { RateLimiterPostgres, type RateLimiterRes } from 'rate-limiter-flexible';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { Database } from '../db/database.ts';

export interface AttemptLimits {
  /** Counts a call of a guarded route. @throws {ApiError} `rate_limited` */
  takeCall(ip: string): Promise<void>;
  /**
   * Counts an attempt before a password or code is compared. It counts as failed until `succeeded` is called. `index` is the
   * blind index of the identifier.
   *
   * Failed attempts from elsewhere do not lock out an address or a device on which `rememberLogin` was called before: an
   * address has a budget of its own, and a device, whose id is no secret, one for all addresses together.
   * @throws {ApiError} `rate_limited` with the time left; the same whether the account exists or not
   */
  attempt(index: Buffer, ip: string, device_id?: string): Promise<{ succeeded(): Promise<void> }>;
  /** Remembers a log-in under each of these identifiers, from that address and on that device. */
  rememberLogin(indexes: Buffer[], ip: string, device_id: string): Promise<void>;
  /** Counts a code that is about to be sent to an address. @throws {ApiError} `rate_limited` */
  takeCodeSend(index: Buffer, ip: string): Promise<void>;
  /** Counts a search for a person by number, phone or email. @throws {ApiError} `rate_limited` */
  takeLookup(user_id: string): Promise<void>;
  /** Counts a claim of the one-time keys of `owner_id`. @throws {ApiError} `rate_limited` */
  takeKeyClaim(user_id: string, owner_id: string): Promise<void>;
}

/** Returns the part of an address that one customer has: the /64 of IPv6, or IPv4, which may be mapped into IPv6. */
export function addressKey(ip: string): string {
  const v4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (v4 || !isIPv6(ip)) return v4 ?? ip;
  const [head = '', tail] = ip.split('%')[0]!.split('::');
  const front = head ? head.split(':') : [];
  const back = tail ? tail.split(':') : [];
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - front.length - back.length)).fill('0');
  return [...front, ...zeros, ...back]
    .slice(0, 4)
    .map((part) => Number.parseInt(part, 16).toString(16))
    .join(':');
}

export function openAttemptLimits(db: Pick<Database, 'query'>, config: Config): AttemptLimits {
  const store = {
    storeClient: {
      query: async ({ text, values }: { text: string; values: unknown[] }) => ({ rows: await db.query(text, values) }),
    },
    storeType: 'client',
    tableName: 'rate_limits',
    tableCreated: true,
    clearExpiredByTimeout: false,
  };
  const createLimiter = (keyPrefix: string, points: number, duration: number, blockDuration = 0) =>
    new RateLimiterPostgres({ ...store, keyPrefix, points, duration, blockDuration });
  const { AUTH_RATE_LIMIT_MAX_REQUESTS, AUTH_LOCK_WINDOW_SEC: windowSec, AUTH_LOCK_SEC: lockSec } = config;
  const calls = new RateLimiterPostgres({
    ...store,
    keyPrefix: 'call',
    points: AUTH_RATE_LIMIT_MAX_REQUESTS,
    duration: config.AUTH_RATE_LIMIT_WINDOW_SEC,
    // An address over the limit costs no further statement until the window ends.
    inMemoryBlockOnConsumed: AUTH_RATE_LIMIT_MAX_REQUESTS + 1,
  });
  const attempts = createLimiter('guess', config.AUTH_LOCK_MAX_FAILURES, windowSec, lockSec);
  const attemptsInAll = createLimiter('guessall', config.AUTH_LOCK_MAX_FAILURES_IN_ALL, windowSec, lockSec);
  const attemptsOnDevice = createLimiter('guessdev', config.AUTH_LOCK_MAX_FAILURES, windowSec, lockSec);
  const sends = createLimiter('send', config.CODE_MAX_SENT, config.CODE_WINDOW_SEC);
  const sendsByAddress = createLimiter('sendip', config.CODE_MAX_SENT_PER_IP, config.CODE_WINDOW_SEC);
  const finds = createLimiter('find', config.LOOKUP_MAX_REQUESTS, config.LOOKUP_WINDOW_SEC);
  const claims = createLimiter('claim', config.KEY_CLAIMS_MAX, config.KEY_CLAIMS_WINDOW_SEC);

  // Keys are hashes, so that the table reveals neither addresses nor identifiers.
  const key = (...parts: (string | Buffer)[]): string => {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part).update('\0');
    return hash.digest('base64url');
  };
  async function take(limiter: RateLimiterPostgres, counter: string, message: string): Promise<void> {
    try {
      await limiter.consume(counter);
    } catch (error) {
      if (error instanceof Error) throw error;
      throw new ApiError('rate_limited', message, {
        retry_after_ms: Math.max(1, (error as RateLimiterRes).msBeforeNext),
      });
    }
  }

  return {
    takeCall: (ip) => take(calls, key(addressKey(ip)), 'too many requests from this address; wait before the next one'),
    async attempt(index, ip, device_id = '') {
      const [atAddress, onDevice, inAll] = [key(index, addressKey(ip)), key(index, 'device', device_id), key(index)];
      const message = 'too many failed attempts; wait before the next one';
      await take(attempts, atAddress, message);
      const known = await db.query<{ key: string }>(
        'select key from rate_limits where key = any($1) and expire > extract(epoch from now()) * 1000',
        [[`known:${atAddress}`, `known:${onDevice}`]],
      );
      const isKnownAddress = known.some((row) => row.key === `known:${atAddress}`);
      const [limiter, counter] = known.length ? [attemptsOnDevice, onDevice] : [attemptsInAll, inAll];
      if (!isKnownAddress) await take(limiter, counter, message);
      let hasSucceeded = false;
      return {
        async succeeded() {
          if (hasSucceeded) return;
          hasSucceeded = true;
          await Promise.all([attempts.delete(atAddress), isKnownAddress || limiter.reward(counter, 1)]);
        },
      };
    },
    async rememberLogin(indexes, ip, device_id) {
      const keys = indexes.flatMap((index) => [key(index, addressKey(ip)), key(index, 'device', device_id)]);
      await db.query(
        `insert into rate_limits (key, points, expire)
         select 'known:' || k, 0, (extract(epoch from now()) + $2) * 1000 from unnest($1::text[]) k order by k
         on conflict (key) do update set expire = excluded.expire`,
        [keys, config.AUTH_KNOWN_DAYS * 86_400],
      );
    },
    async takeCodeSend(index, ip) {
      await take(
        sendsByAddress,
        key(addressKey(ip)),
        'too many codes were requested from this address; wait before requesting another one',
      );
      await take(sends, key(index), 'too many codes were sent; wait before requesting another one');
    },
    takeLookup: (user_id) => take(finds, key(user_id), 'too many searches for people; wait before the next one'),
    takeKeyClaim: (user_id, owner_id) =>
      take(claims, key(user_id, owner_id), 'too many claims of the keys of this person; wait before the next one'),
  };
}
