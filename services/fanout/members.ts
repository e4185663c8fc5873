/**
 * Finds the recipients of records: the members of a group, from the log where it has them, else from the projection; and the
 * conversation partners of a person whom a notice concerns.
 */
import { ApiError } from '../../shared/contract/errors.ts';
import type { Query } from '../../shared/db/database.ts';
import type { LogMeta, LogRecord } from '../../shared/pipeline/entry.ts';
import type { RecordKind, RecordOf } from '../../shared/pipeline/kinds.ts';

/** The recipients that must be known before the items of a batch can be built. */
interface Needs {
  groups: Set<string>;
  /** People whose conversation partners are asked for. */
  people: Set<string>;
  /** By conversation: the members, where the record itself names them. */
  named: Map<string, string[]>;
}
type CollectNeeds<R extends LogMeta> = (record: R, needs: Needs) => void;
export type RecipientTable = { [K in RecordKind]: CollectNeeds<RecordOf<K>> };

const membersOfGroup = (
  { conversation_id, pair }: { conversation_id: string; pair?: unknown },
  { groups }: Needs,
): void => {
  if (!pair) groups.add(conversation_id);
};

const RECIPIENTS = {
  message: membersOfGroup,
  read: membersOfGroup,
  payment: membersOfGroup,
  conversation: ({ conversation_id, members }, { named }) =>
    void named.set(
      conversation_id,
      members.map(([user]) => user),
    ),
  notice: ({ audience, user_id }, { people }) => void (audience === 'partners' && people.add(user_id)),
} satisfies RecipientTable;

export class Members {
  readonly #query: Query;
  readonly #maxKept: number;
  /** By group, the least recently used one first. */
  readonly #groups = new Map<string, string[]>();
  readonly #partners = new Map<string, string[]>();

  /** `maxKept`: groups remembered between batches; within a batch all that it needs are known. */
  constructor(query: Query, maxKept: number) {
    this.#query = query;
    this.#maxKept = maxKept;
  }

  clear(): void {
    this.#groups.clear();
  }

  /**
   * Makes the recipients of these records known, with one query for all unknown groups and one for all partners.
   * @throws {ApiError} `unavailable` while the projection does not have a group yet
   */
  async load(records: LogRecord[]): Promise<void> {
    const needs: Needs = { groups: new Set(), people: new Set(), named: new Map() };
    for (const { meta } of records) (RECIPIENTS[meta.kind] as CollectNeeds<LogMeta>)(meta, needs);
    await this.#loadPartners([...needs.people]);
    for (const id of this.#groups.keys()) {
      if (this.#groups.size <= this.#maxKept) break;
      this.#groups.delete(id);
    }
    for (const [id, users] of needs.named) this.#use(id, users);
    const unknown: string[] = [];
    for (const id of needs.groups) {
      const users = this.#groups.get(id);
      if (users) this.#use(id, users);
      else unknown.push(id);
    }
    if (!unknown.length) return;
    const rows = await this.#query<{ id: string; users: string[] }>(
      'select conversation_id as id, array_agg(user_id)::text[] as users from members where conversation_id = any($1::uuid[]) and left_seq is null group by 1',
      [unknown],
    );
    for (const { id, users } of rows) this.#use(id, users);
    // The log holds a message only after its conversation, so history is behind: wait for it.
    if (rows.length < unknown.length)
      throw new ApiError('unavailable', 'the members of a conversation are not in the projection yet');
  }

  /** The members of a group that the last `load` made known. */
  membersOf(conversationId: string): readonly string[] {
    return this.#groups.get(conversationId)!;
  }

  /** The conversation partners of a person of the last `load`, and the person. */
  partnersOf(user: string): readonly string[] {
    return this.#partners.get(user) ?? [user];
  }

  async #loadPartners(users: string[]): Promise<void> {
    this.#partners.clear();
    if (!users.length) return;
    const rows = await this.#query<{ id: string; users: string[] }>(
      `select m.user_id as id, array_agg(distinct o.user_id)::text[] as users
       from members m join members o on o.conversation_id = m.conversation_id and o.left_seq is null
       where m.user_id = any($1::uuid[]) and m.left_seq is null group by 1`,
      [users],
    );
    for (const { id, users } of rows) this.#partners.set(id, users);
  }

  /** Makes the group the most recently used one. */
  #use(id: string, users: string[]): void {
    this.#groups.delete(id);
    this.#groups.set(id, users);
  }
}
