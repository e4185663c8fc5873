/**
 * Knows the sessions that ended while their access tokens are still valid. The core event `people.<user>` announces them, but
 * may be lost; so Postgres is asked too: at the start, every REVOCATION_POLL_MS, and after each reconnection to NATS.
 */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { Config } from '../shared/config/index.ts';
import { ApiError } from '../shared/contract/errors.ts';
import type { Database } from '../shared/db/database.ts';
import { decodePersonEvent, type Ended } from '../shared/pipeline/person-event.ts';
import { isTransient } from '../shared/transient.ts';
import { watchConnection } from './connect.ts';
import { subject } from './topology.ts';

/**
 * `revoked_at` is when a transaction began; it becomes visible only when that has committed. Nearly all commit at once: most
 * polls look back only a little, and every FAR_EVERY_MS one looks back far.
 */
const LATE_SEC = { most: 3, all: 60 };
const FAR_EVERY_MS = 5_000;
const RETRY_MS = 500;

export interface Revocations {
  /** True once Postgres was asked; until then no session may be admitted. */
  readonly isKnown: boolean;
  has(session_id: string): boolean;
  /** Adds sessions that this process has ended, before the event comes round. */
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
  /** Called for each ended session, possibly more than once. */
  onEnded?: (ended: Ended) => void;
}

/** Opens the watch. Resolves when Postgres was asked once, whether it answered or not. */
export async function watchRevocations({ nc, db, log, config, onEnded }: Options): Promise<Revocations> {
  const ended = new EndedSessions((config.ACCESS_TOKEN_EXPIRE_MINUTES * 60 + LATE_SEC.all) * 1_000, onEnded);
  const poller = new RevocationPoller(db, log, ended, config.REVOCATION_POLL_MS);
  const subscription = nc.subscribe(subject.people('*'), {
    callback: (error, message) => {
      if (error || message.data.length === 0) return;
      for (const session of decodePersonEvent(message.string()).ended ?? []) ended.add(session);
    },
  });
  watchConnection(nc, { onReconnect: () => void poller.pollNow() });
  await nc.flush();
  await poller.pollNow();

  return {
    get isKnown() {
      return poller.hasPolled;
    },
    has: (session_id) => ended.has(session_id),
    add: (sessions) => {
      for (const session of sessions) ended.add(session);
    },
    assertActive(session_id) {
      if (!poller.hasPolled)
        throw new ApiError('unavailable', 'ended sessions are not known yet; try again', { retry_after_ms: 1_000 });
      if (ended.has(session_id)) throw new ApiError('unauthenticated', 'this session has ended; log in again');
    },
    async close() {
      subscription.unsubscribe();
      await poller.close();
    },
  };
}

/** Remembers ended sessions for as long as an access token of theirs can be valid. */
class EndedSessions {
  readonly keepMs: number;
  readonly #onEnded: ((ended: Ended) => void) | undefined;
  /** Until when each is remembered (monotonic ms), earliest first. */
  readonly #until = new Map<string, number>();

  constructor(keepMs: number, onEnded: ((ended: Ended) => void) | undefined) {
    this.keepMs = keepMs;
    this.#onEnded = onEnded;
  }

  add(session: Ended): void {
    if (!this.#until.has(session.session_id)) this.#until.set(session.session_id, performance.now() + this.keepMs);
    this.#onEnded?.(session);
  }

  has(session_id: string): boolean {
    return this.#until.has(session_id);
  }

  deleteExpired(now: number): void {
    for (const [id, until] of this.#until) {
      if (until > now) break;
      this.#until.delete(id);
    }
  }
}

/** Polls Postgres for ended sessions. Times are monotonic ms. */
class RevocationPoller {
  readonly #db: Database;
  readonly #log: Logger;
  readonly #ended: EndedSessions;
  readonly #everyMs: number;
  #polledAt: number | undefined;
  #polledFarAt = 0;
  #polling: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(db: Database, log: Logger, ended: EndedSessions, everyMs: number) {
    this.#db = db;
    this.#log = log;
    this.#ended = ended;
    this.#everyMs = everyMs;
  }

  get hasPolled(): boolean {
    return this.#polledAt !== undefined;
  }

  /** Polls after the poll under way, which may have begun before the caller's reason. Never rejects. */
  pollNow(): Promise<void> {
    clearTimeout(this.#timer);
    if (this.#isClosed) return Promise.resolve();
    const pausing = (this.#polling ?? Promise.resolve())
      .then(() => this.#poll())
      .then(
        () => this.#everyMs,
        (error: unknown) => {
          if (!isTransient(error)) this.#log.error({ unit: 'revocations', err: error });
          return RETRY_MS;
        },
      );
    const done = pausing.then((pauseMs) => {
      // A later call of pollNow sets the timer.
      if (this.#polling !== done || this.#isClosed) return;
      this.#polling = undefined;
      this.#timer = setTimeout(() => void this.pollNow(), pauseMs).unref();
    });
    this.#polling = done;
    return done;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#polling;
  }

  async #poll(): Promise<void> {
    const started = performance.now();
    const isFar = this.#polledAt === undefined || started - this.#polledFarAt >= FAR_EVERY_MS;
    const sessions = await this.#db.query<Ended>(
      `select id as session_id, device_id from sessions where revoked_at > now() - make_interval(secs => $1)`,
      [this.#lookBackSec(started, isFar)],
    );
    for (const session of sessions) this.#ended.add(session);
    this.#polledAt = started;
    if (isFar) this.#polledFarAt = started;
    this.#ended.deleteExpired(started);
  }

  #lookBackSec(now: number, isFar: boolean): number {
    if (this.#polledAt === undefined) return this.#ended.keepMs / 1_000;
    return (now - (isFar ? this.#polledFarAt : this.#polledAt)) / 1_000 + LATE_SEC[isFar ? 'all' : 'most'];
  }
}
