/** Finds the user that `to` of a message names, and the direct conversation with that user. */
import { batchLoader } from '../../../shared/async/batch-loader.ts';
import { LruMap } from '../../../shared/async/lru-map.ts';
import { type AttemptLimits, openAttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { MessageSend } from '../../../shared/contract/frames/client.ts';
import type { Database } from '../../../shared/db/database.ts';
import { directConversationId } from '../../../shared/ids.ts';

export class Recipients {
  /** Ids of direct conversations, by the ids of both users. */
  readonly #conversations: LruMap<string, string>;
  /** Ids of users, by number. */
  readonly #users: LruMap<string, string>;
  readonly #loadUser: (number: string) => Promise<string | undefined>;
  readonly #limits: AttemptLimits;

  constructor(db: Database, config: Config) {
    this.#conversations = new LruMap(config.EDGE_MAX_RECIPIENTS);
    this.#users = new LruMap(config.EDGE_MAX_RECIPIENTS);
    this.#limits = openAttemptLimits(db, config);
    this.#loadUser = batchLoader(async (numbers: string[]) => {
      const rows = await db.query<{ number: string; id: string }>(
        'select number, id from users where number = any($1) and deleted_at is null',
        [numbers],
      );
      const found = new Map(rows.map(({ number, id }) => [number, id]));
      return numbers.map((number) => found.get(number));
    });
  }

  /**
   * Returns the recipient's id; a promise only where a number has to be looked up.
   * @param sender whose look-ups are counted
   * @throws {ApiError} where `to` is invalid; the promise rejects with `not_found` or `rate_limited`
   */
  resolve({ user_id, number }: NonNullable<MessageSend['to']>, sender: string): string | Promise<string> {
    if ((user_id === undefined) === (number === undefined))
      throw new ApiError('invalid_request', 'message.send: to has exactly one of user_id and number', {
        details: { field: 'to' },
      });
    if (user_id !== undefined) return user_id;
    return this.#users.get(number!) ?? this.#lookUp(number!, sender);
  }

  /** Returns the id of the direct conversation of two users. */
  directConversation(a: string, b: string): string {
    const key = a + b;
    let id = this.#conversations.get(key);
    if (id === undefined) {
      id = directConversationId(a, b);
      this.#conversations.set(key, id);
    }
    return id;
  }

  async #lookUp(number: string, sender: string): Promise<string> {
    await this.#limits.takeLookup(sender);
    const id = await this.#loadUser(number);
    if (id === undefined) throw new ApiError('not_found', 'no user has this number');
    this.#users.set(number, id);
    return id;
  }
}
