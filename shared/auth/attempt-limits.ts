/** How often somebody may try, counted in Postgres: for all processes, also after a restart. */
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { RateLimiterPostgres, type RateLimiterRes } from 'rate-limiter-flexible';
import type { Config } from '../config/index.ts';
import { ApiError } from '../contract/errors.ts';
import type { Database } from '../db/database.ts';

export interface Limits {
  /** One call of a guarded route. @throws {ApiError} `rate_limited` */
  call(ip: string): Promise<void>;
  /**
   * Before a password or code is compared: a try, which counts as wrong until `succeeded` is called. `who` is a blind index.
   * Where `remember` was called for that address or device, wrong tries from elsewhere lock nobody out: an address has
   * its own budget, and a device, whose id is no secret, one for all addresses.
   * @throws {ApiError} `rate_limited`: locked, with the time left. The same whether there is such an account or not.
   */
  attempt(who: Buffer, ip: string, device_id?: string): Promise<{ succeeded(): Promise<void> }>;
  /** Somebody has got in as each of `who`, from that address and on that device. */
  remember(who: Buffer[], ip: string, device_id: string): Promise<void>;
  /** A code is to be sent to `who`. @throws {ApiError} `rate_limited` */
  send(who: Buffer, ip: string): Promise<void>;
  /** Somebody looks for a person by number, phone or email. @throws {ApiError} `rate_limited` */
  find(user_id: string): Promise<void>;
  /** Somebody claims the one-time keys of `of`. @throws {ApiError} `rate_limited` */
  claim(user_id: string, of: string): Promise<void>;
}

/** An IPv6 customer has a /64; an IPv4 address may come mapped into IPv6. */
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

export function openLimits(db: Pick<Database, 'query'>, config: Config): Limits {
  const store = {
    storeClient: {
      query: async ({ text, values }: { text: string; values: unknown[] }) => ({ rows: await db.query(text, values) }),
    },
    storeType: 'client',
    tableName: 'rate_limits',
    tableCreated: true,
    clearExpiredByTimeout: false,
  };
  const limiter = (keyPrefix: string, points: number, duration: number, blockDuration = 0) =>
    new RateLimiterPostgres({ ...store, keyPrefix, points, duration, blockDuration });
  const { AUTH_RATE_LIMIT_MAX_REQUESTS, AUTH_LOCK_WINDOW_SEC: window, AUTH_LOCK_SEC: lock } = config;
  const calls = new RateLimiterPostgres({
    ...store,
    keyPrefix: 'call',
    points: AUTH_RATE_LIMIT_MAX_REQUESTS,
    duration: config.AUTH_RATE_LIMIT_WINDOW_SEC,
    // Who is over the limit costs nothing more until the window ends.
    inMemoryBlockOnConsumed: AUTH_RATE_LIMIT_MAX_REQUESTS + 1,
  });
  const guesses = limiter('guess', config.AUTH_LOCK_MAX_FAILURES, window, lock);
  const guessesInAll = limiter('guessall', config.AUTH_LOCK_MAX_FAILURES_IN_ALL, window, lock);
  const guessesOnDevice = limiter('guessdev', config.AUTH_LOCK_MAX_FAILURES, window, lock);
  const sends = limiter('send', config.CODE_MAX_SENT, config.CODE_WINDOW_SEC);
  const sendsByAddress = limiter('sendip', config.CODE_MAX_SENT_PER_IP, config.CODE_WINDOW_SEC);
  const finds = limiter('find', config.LOOKUP_MAX_REQUESTS, config.LOOKUP_WINDOW_SEC);
  const claims = limiter('claim', config.KEY_CLAIMS_MAX, config.KEY_CLAIMS_WINDOW_SEC);

  // Addresses and identifiers are not kept readable.
  const key = (...parts: (string | Buffer)[]): string => {
    const hash = createHash('sha256');
    for (const part of parts) hash.update(part).update('\0');
    return hash.digest('base64url');
  };
  async function take(from: RateLimiterPostgres, of: string, what: string): Promise<void> {
    try {
      await from.consume(of);
    } catch (error) {
      if (error instanceof Error) throw error;
      throw new ApiError('rate_limited', what, { retry_after_ms: Math.max(1, (error as RateLimiterRes).msBeforeNext) });
    }
  }

  return {
    call: (ip) => take(calls, key(addressKey(ip)), 'too many requests from this address'),
    async attempt(who, ip, device_id = '') {
      const [here, device, all] = [key(who, addressKey(ip)), key(who, 'device', device_id), key(who)];
      const what = 'too many wrong tries; wait before the next one';
      await take(guesses, here, what);
      const places = [`known:${here}`, `known:${device}`];
      const known = await db.query<{ key: string }>(
        'select key from rate_limits where key = any($1) and expire > extract(epoch from now()) * 1000',
        [places],
      );
      const atAddress = known.some((one) => one.key === places[0]);
      const others = known.length ? guessesOnDevice : guessesInAll;
      const of = known.length ? device : all;
      if (!atAddress) await take(others, of, what);
      let told = false;
      return {
        async succeeded() {
          if (told) return;
          told = true;
          await Promise.all([guesses.delete(here), atAddress || others.reward(of, 1)]);
        },
      };
    },
    async remember(who, ip, device_id) {
      const keys = who.flatMap((one) => [key(one, addressKey(ip)), key(one, 'device', device_id)]);
      await db.query(
        `insert into rate_limits (key, points, expire)
         select 'known:' || k, 0, (extract(epoch from now()) + $2) * 1000 from unnest($1::text[]) k order by k
         on conflict (key) do update set expire = excluded.expire`,
        [keys, config.AUTH_KNOWN_DAYS * 86_400],
      );
    },
    async send(who, ip) {
      await take(sendsByAddress, key(addressKey(ip)), 'too many codes were asked for from this address');
      await take(sends, key(who), 'too many codes were sent; wait before asking for another one');
    },
    find: (user_id) => take(finds, key(user_id), 'too many look-ups of people'),
    claim: (user_id, of) => take(claims, key(user_id, of), 'too many claims of this person’s keys'),
  };
}
