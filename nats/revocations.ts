/**
 * Sessions that ended while their access tokens are still good. Heard of by the core event `people.<user>`, which may be
 * lost; so Postgres is asked too: at the start, every REVOCATION_POLL_MS, and after each reconnection to NATS.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import type { Database } from '../shared/db/database.ts';
import { decodePersonEvent, type Ended } from '../shared/pipeline/person-event.ts';
import { isTransient } from '../shared/transient.ts';
import { subject } from './topology.ts';

/**
 * `revoked_at` is when a transaction began; it shows only once that has committed. Nearly all do so at once: most looks go
 * back only a little, and now and then one goes back far.
 */
const LATE_SEC = { most: 3, all: 60 };
const FAR_EVERY_MS = 5_000;
const RETRY_MS = 500;

export interface Revocations {
  /** True once Postgres was asked; until then nobody can be let in. */
  readonly isKnown: boolean;
  has(session_id: string): boolean;
  /** Known here already, before the event comes round. */
  add(sessions: readonly Ended[]): void;
  /** @throws {ApiError} `unauthenticated` for an ended session, `unavailable` while nothing is known. */
  assertActive(session_id: string): void;
  close(): Promise<void>;
}
interface Options {
  nc: NatsConnection;
  db: Database;
  log: Logger;
  config: Pick<Config, 'ACCESS_TOKEN_EXPIRE_MINUTES' | 'REVOCATION_POLL_MS'>;
  /** Called for each ended session, perhaps more than once. */
  onEnded?: (ended: Ended) => void;
}

export async function watchRevocations({ nc, db, log, config, onEnded }: Options): Promise<Revocations> {
  const keepMs = (config.ACCESS_TOKEN_EXPIRE_MINUTES * 60 + LATE_SEC.all) * 1_000;
  /** Until when each matters, the earliest first. */
  const ended = new Map<string, number>();
  let lookedAt: number | undefined;
  let lookedFarAt = 0;
  let looking: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function end(one: Ended): void {
    if (!ended.has(one.session_id)) ended.set(one.session_id, performance.now() + keepMs);
    onEnded?.(one);
  }

  async function look(): Promise<void> {
    const started = performance.now();
    const far = lookedAt === undefined || started - lookedFarAt >= FAR_EVERY_MS;
    const backSec =
      lookedAt === undefined
        ? keepMs / 1_000
        : (started - (far ? lookedFarAt : lookedAt)) / 1_000 + LATE_SEC[far ? 'all' : 'most'];
    for (const one of await db.query<Ended>(
      `select id as session_id, device_id from sessions where revoked_at > now() - make_interval(secs => $1)`,
      [backSec],
    ))
      end(one);
    lookedAt = started;
    if (far) lookedFarAt = started;
    for (const [id, until] of ended) {
      if (until > started) break;
      ended.delete(id);
    }
  }

  /** Looks at once; looks under way may have begun before what is asked about. */
  function lookSoon(): void {
    clearTimeout(timer);
    if (closed) return;
    const previous = looking ?? Promise.resolve();
    const mine = previous.then(look).then(
      () => config.REVOCATION_POLL_MS,
      (error: unknown) => {
        if (!isTransient(error)) log.error({ unit: 'revocations', err: error });
        return RETRY_MS;
      },
    );
    const done = mine.then((pauseMs) => {
      if (looking !== done || closed) return;
      looking = undefined;
      timer = setTimeout(lookSoon, pauseMs).unref();
    });
    looking = done;
  }

  const subscription = nc.subscribe(subject.people('*'), {
    callback: (error, message) => {
      if (error || message.data.length === 0) return;
      for (const one of decodePersonEvent(message.string()).ended ?? []) end(one);
    },
  });
  void (async () => {
    for await (const { type } of nc.status()) if (type === 'reconnect') lookSoon();
  })();
  await nc.flush();
  lookSoon();
  await looking;

  return {
    get isKnown() {
      return lookedAt !== undefined;
    },
    has: (session_id) => ended.has(session_id),
    add: (sessions) => sessions.forEach(end),
    assertActive(session_id) {
      if (lookedAt === undefined)
        throw new ApiError('unavailable', 'which sessions ended is not known yet', { retry_after_ms: 1_000 });
      if (ended.has(session_id)) throw new ApiError('unauthenticated', 'this session has ended; log in again');
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      subscription.unsubscribe();
      await looking;
    },
  };
}
