/**
 * History over the socket: one page at a time for each socket, and none for a socket that is full. Pages have database
 * connections of their own, so that admission and cursors never wait behind them.
 */

import { Semaphore } from '../../../shared/async/semaphore.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { HistoryGet } from '../../../shared/contract/frames/client.ts';
import type { Database } from '../../../shared/db/database.ts';
import { readPageBySeq } from '../../../shared/db/message-queries.ts';
import type { Connection } from '../connections/connection.ts';

type Page = Awaited<ReturnType<typeof readPageBySeq>>;
type Terms = Pick<Config, 'HISTORY_MAX_PAGE_BYTES' | 'HISTORY_POOL' | 'WS_MAX_HISTORY_WAITING'>;
const BUSY_MS = 1_000;

export class Pages {
  readonly #db: Pick<Database, 'query'>;
  readonly #config: Terms;
  /** A page waits here and not for a connection, which would time out. */
  readonly #gate: Semaphore;
  /** How many of a socket wait or are being read, and when the last of them is done. */
  readonly #busy = new Map<Connection, { count: number; last: Promise<unknown> }>();

  constructor(db: Pick<Database, 'query'>, config: Terms) {
    this.#db = db;
    this.#config = config;
    this.#gate = new Semaphore(config.HISTORY_POOL);
  }

  /**
   * @param say is called with the page before the next one of the socket is read
   * @throws {ApiError} `rate_limited` when too many wait already; as `pageBySeq`
   */
  async get(session: Connection, frame: HistoryGet, say: (page: Page) => void): Promise<void> {
    const before = this.#busy.get(session) ?? { count: 0, last: Promise.resolve() };
    if (before.count > this.#config.WS_MAX_HISTORY_WAITING)
      throw new ApiError('rate_limited', 'history.get: wait for the pages that were asked for before', {
        retry_after_ms: BUSY_MS,
      });
    const mine = before.last.then(() => this.#read(session, frame, say));
    const last = mine.catch(() => {}).then(() => this.#done(session));
    this.#busy.set(session, { count: before.count + 1, last });
    await mine;
  }

  async #read(
    session: Connection,
    { type: _, id: __, ...range }: HistoryGet,
    say: (page: Page) => void,
  ): Promise<void> {
    await session.room();
    const page = await this.#gate.run(async () => {
      // It may have waited long.
      if (!session.open || session.closingSince) return undefined;
      const { user_id, device_id } = session;
      return await readPageBySeq(this.#db, {
        user_id,
        device_id,
        ...range,
        max_bytes: this.#config.HISTORY_MAX_PAGE_BYTES,
      });
    });
    if (page) say(page);
  }

  #done(session: Connection): void {
    const busy = this.#busy.get(session)!;
    if (--busy.count === 0) this.#busy.delete(session);
  }
}
