/**
 * Who gets what happens: the members of a group, from the log where it told, else from the projection; and the partners
 * of a person whose devices changed.
 */
import { ApiError } from '../../shared/contract/errors.ts';
import type { Query } from '../../shared/db/database.ts';
import type { LogRecord } from '../../shared/pipeline/entry.ts';

export class Members {
  readonly #query: Query;
  readonly #kept: number;
  readonly #of = new Map<string, string[]>();
  readonly #partners = new Map<string, string[]>();

  /** `kept`: groups remembered between batches; within a batch all that it needs are known. */
  constructor(query: Query, kept: number) {
    this.#query = query;
    this.#kept = kept;
  }

  clear(): void {
    this.#of.clear();
  }

  /** Makes sure that every group these records speak of is known; one query for all that is not. */
  async load(records: LogRecord[]): Promise<void> {
    await this.#loadPartners(records);
    for (const id of this.#of.keys()) {
      if (this.#of.size <= this.#kept) break;
      this.#of.delete(id);
    }
    const unknown = new Set<string>();
    for (const { meta } of records) {
      if (meta.kind === 'conversation')
        this.#keep(
          meta.conversation_id,
          meta.members.map(([user]) => user),
        );
      else if (meta.kind !== 'notice' && !meta.pair) {
        const users = this.#of.get(meta.conversation_id);
        if (users) this.#keep(meta.conversation_id, users);
        else unknown.add(meta.conversation_id);
      }
    }
    for (const id of unknown) if (this.#of.has(id)) unknown.delete(id);
    if (!unknown.size) return;
    const rows = await this.#query<{ id: string; users: string[] }>(
      'select conversation_id as id, array_agg(user_id)::text[] as users from members where conversation_id = any($1::uuid[]) and left_seq is null group by 1',
      [[...unknown]],
    );
    for (const { id, users } of rows) this.#keep(id, users);
    // The projection has not come that far, since a message stands in the log only after its conversation: wait for it.
    if (rows.length < unknown.size)
      throw new ApiError('unavailable', 'the members of a conversation are not in the projection yet');
  }

  membersOf(conversationId: string): readonly string[] {
    return this.#of.get(conversationId)!;
  }

  /** Known for the people of the last `load`. */
  partnersOf(user: string): readonly string[] {
    return this.#partners.get(user) ?? [user];
  }

  async #loadPartners(records: LogRecord[]): Promise<void> {
    const users = new Set<string>();
    for (const { meta } of records) if (meta.kind === 'notice' && meta.audience === 'partners') users.add(meta.user_id);
    this.#partners.clear();
    if (!users.size) return;
    const rows = await this.#query<{ id: string; users: string[] }>(
      `select m.user_id as id, array_agg(distinct o.user_id)::text[] as users
       from members m join members o on o.conversation_id = m.conversation_id and o.left_seq is null
       where m.user_id = any($1::uuid[]) and m.left_seq is null group by 1`,
      [[...users]],
    );
    for (const { id, users } of rows) this.#partners.set(id, users);
  }

  /** Makes it the one that was used last. */
  #keep(id: string, users: string[]): void {
    this.#of.delete(id);
    this.#of.set(id, users);
  }
}
