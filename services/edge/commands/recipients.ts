/** Whom `to` names, and the direct conversation with that person. */

import { batchLoader } from '../../../shared/async/batch-loader.ts';
import { LruMap } from '../../../shared/async/lru-map.ts';
import { type AttemptLimits, openAttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { MessageSend } from '../../../shared/contract/frames/client.ts';
import type { Database } from '../../../shared/db/database.ts';
import { directConversationId } from '../../../shared/ids.ts';

export class Recipients {
  readonly #direct: LruMap<string, string>;
  readonly #numbers: LruMap<string, string>;
  readonly #find: (number: string) => Promise<string | undefined>;

  readonly #limits: AttemptLimits;

  constructor(db: Database, config: Config) {
    this.#direct = new LruMap(config.EDGE_MAX_RECIPIENTS);
    this.#numbers = new LruMap(config.EDGE_MAX_RECIPIENTS);
    this.#limits = openAttemptLimits(db, config);
    this.#find = batchLoader(async (numbers: string[]) => {
      const rows = await db.query<{ number: string; id: string }>(
        'select number, id from users where number = any($1) and deleted_at is null',
        [numbers],
      );
      const found = new Map(rows.map(({ number, id }) => [number, id]));
      return numbers.map((number) => found.get(number));
    });
  }

  /** The person's id; a promise only where a number has to be looked up. @throws {ApiError} */
  person({ user_id, number }: NonNullable<MessageSend['to']>, asks: string): string | Promise<string> {
    if ((user_id === undefined) === (number === undefined))
      throw new ApiError('invalid_request', 'message.send: to has exactly one of user_id and number', {
        details: { field: 'to' },
      });
    if (user_id !== undefined) return user_id;
    return this.#numbers.get(number!) ?? this.#look(number!, asks);
  }

  direct(a: string, b: string): string {
    const key = a + b;
    let id = this.#direct.get(key);
    if (id === undefined) {
      id = directConversationId(a, b);
      this.#direct.set(key, id);
    }
    return id;
  }

  async #look(number: string, asks: string): Promise<string> {
    await this.#limits.takeLookup(asks);
    const id = await this.#find(number);
    if (id === undefined) throw new ApiError('not_found', 'there is no such person');
    this.#numbers.set(number, id);
    return id;
  }
}
