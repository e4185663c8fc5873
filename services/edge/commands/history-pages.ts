/**
 * Reads pages of history for connections: one page at a time for each, and none for a connection whose output is full. Pages
 * have database connections of their own, so that admission and cursors never wait behind them.
 */
import { Semaphore } from '../../../shared/async/semaphore.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { HistoryGet } from '../../../shared/contract/frames/client.ts';
import type { Database } from '../../../shared/db/database.ts';
import { readPageBySeq } from '../../../shared/db/message-queries.ts';
import type { CommandOutput } from './command-client.ts';

type Page = Awaited<ReturnType<typeof readPageBySeq>>;
type PagesConfig = Pick<Config, 'HISTORY_MAX_PAGE_BYTES' | 'HISTORY_POOL' | 'WS_MAX_HISTORY_WAITING'>;
/** The part of an output that is used here. */
type PageOutput = Pick<CommandOutput, 'user_id' | 'device_id' | 'isOpen' | 'waitForRoom'>;
const RETRY_AFTER_MS = 1_000;

export class HistoryPages {
  readonly #db: Pick<Database, 'query'>;
  readonly #config: PagesConfig;
  /** A page waits here and not for a database connection, which would time out. */
  readonly #reads: Semaphore;
  /** Pages of an output that wait or are being read, and a promise for the last of them. */
  readonly #queues = new Map<PageOutput, { count: number; last: Promise<unknown> }>();

  constructor(db: Pick<Database, 'query'>, config: PagesConfig) {
    this.#db = db;
    this.#config = config;
    this.#reads = new Semaphore(config.HISTORY_POOL);
  }

  /**
   * @param send called with the page before the next one of the same output is read
   * @throws {ApiError} `rate_limited` when too many pages wait already; as `readPageBySeq`
   */
  async get(output: PageOutput, frame: HistoryGet, send: (page: Page) => void): Promise<void> {
    const queue = this.#queues.get(output) ?? { count: 0, last: Promise.resolve() };
    if (queue.count > this.#config.WS_MAX_HISTORY_WAITING)
      throw new ApiError('rate_limited', 'history.get: wait for the pages that were requested before', {
        retry_after_ms: RETRY_AFTER_MS,
      });
    const read = queue.last.then(() => this.#read(output, frame, send));
    const last = read.catch(() => {}).then(() => this.#finish(output));
    this.#queues.set(output, { count: queue.count + 1, last });
    await read;
  }

  async #read(
    output: PageOutput,
    { type: _, id: __, ...range }: HistoryGet,
    send: (page: Page) => void,
  ): Promise<void> {
    await output.waitForRoom();
    const page = await this.#reads.run(async () => {
      // The connection may have closed while the page waited.
      if (!output.isOpen) return undefined;
      const { user_id, device_id } = output;
      return await readPageBySeq(this.#db, {
        user_id,
        device_id,
        ...range,
        max_bytes: this.#config.HISTORY_MAX_PAGE_BYTES,
      });
    });
    if (page) send(page);
  }

  #finish(output: PageOutput): void {
    const queue = this.#queues.get(output)!;
    if (--queue.count === 0) this.#queues.delete(output);
  }
}
