/** Reads what ingest needs from the projection in Postgres: conversations, people, accepted messages, payments. */
import type { ConversationType, Role } from '../../shared/contract/scalars.ts';
import type { Database } from '../../shared/db/database.ts';

export interface Conversation {
  id: string;
  type: ConversationType;
  last_seq: number;
  members: Map<string, Role>;
  /** The log entry that changed it last; it may be evicted once Postgres holds that entry. */
  entry: number;
  /** By user: the seq up to which the person has read. */
  read: Map<string, number>;
}
export interface PersonsDevice {
  id: string;
  registration_id: number | null;
  /** It has published a key, so a message sealed for each device needs an envelope for it. */
  keyed: boolean;
}
export interface Person {
  devices: PersonsDevice[];
  /** The bytewise greatest client_message_id that this person ever had accepted; a greater one is certainly new. */
  greatest: string;
}
export interface Accepted {
  message_id: string;
  conversation_id: string;
  seq: number;
}

export interface Store {
  position(partition: number): Promise<{ entry_seq: number; stream: string } | undefined>;
  conversations(ids: string[]): Promise<Conversation[]>;
  people(ids: string[]): Promise<Map<string, Person>>;
  /** By `sentKey`: sends that were accepted before. */
  accepted(keys: [conversation: string, user: string, client_message_id: string][]): Promise<Map<string, Accepted>>;
  /** Ranks by `paymentKey`, of the requests that the conversation has recorded. */
  payments(keys: [conversation: string, request: string][]): Promise<Map<string, number>>;
}

export const paymentKey = (conversation: string, request: string): string => `${conversation} ${request}`;
/** A client message id names a message of its sender in one conversation: one partition alone decides whether it is new. */
export const sentKey = (conversation: string, user: string, clientMessageId: string): string =>
  `${conversation} ${user} ${clientMessageId}`;
export const sentKeyOwner = (key: string): [user: string, clientMessageId: string] => [
  key.slice(37, 73),
  key.slice(74),
];

export function openStore({ query }: Database): Store {
  return {
    async position(partition) {
      const [row] = await query<{ entry_seq: number; stream: string }>(
        'select entry_seq, stream from log_positions where partition = $1',
        [partition],
      );
      return row;
    },
    async conversations(ids) {
      const rows = await query<{ id: string; type: ConversationType; last_seq: number; members: [string, Role][] }>(
        `select c.id, c.type, c.last_seq,
           (select coalesce(json_agg(json_build_array(m.user_id, m.role)), '[]') from members m
             where m.conversation_id = c.id and m.left_seq is null) as members
         from conversations c where c.id = any($1::uuid[])`,
        [ids],
      );
      return rows.map((row) => ({ ...row, members: new Map(row.members), entry: 0, read: new Map() }));
    },
    async people(ids) {
      const rows = await query<{ id: string; devices: PersonsDevice[]; greatest: string | null }>(
        `select u.id,
           (select coalesce(json_agg(json_build_object('id', d.id, 'registration_id', d.registration_id,
               'keyed', d.identity_key is not null)), '[]') from devices d
             where d.user_id = u.id and d.deleted_at is null) as devices,
           (select max(m.client_message_id) from messages m where m.sender_id = u.id) as greatest
         from users u where u.id = any($1::uuid[]) and u.deleted_at is null`,
        [ids],
      );
      return new Map(rows.map((row) => [row.id, { devices: row.devices, greatest: row.greatest ?? '' }]));
    },
    async accepted(keys) {
      const rows = await query<{
        sender_id: string;
        client_message_id: string;
        id: string;
        conversation_id: string;
        seq: number;
      }>(
        `select m.sender_id, m.client_message_id, m.id, m.conversation_id, m.seq
         from unnest($1::uuid[], $2::uuid[], $3::text[]) as k(conversation_id, sender_id, client_message_id)
         join messages m on m.sender_id = k.sender_id and m.client_message_id = k.client_message_id collate "C"
           and m.conversation_id = k.conversation_id`,
        [keys.map(([conversation]) => conversation), keys.map(([, user]) => user), keys.map(([, , id]) => id)],
      );
      return new Map(
        rows.map((row) => [
          sentKey(row.conversation_id, row.sender_id, row.client_message_id),
          { message_id: row.id, conversation_id: row.conversation_id, seq: row.seq },
        ]),
      );
    },
    async payments(keys) {
      const rows = await query<{ conversation_id: string; request_id: string; rank: number }>(
        `select p.conversation_id, p.request_id, p.rank
         from unnest($1::uuid[], $2::text[]) as k(c, r)
         join conversation_payments p on p.conversation_id = k.c and p.request_id = k.r collate "C"`,
        [keys.map(([conversation]) => conversation), keys.map(([, request]) => request)],
      );
      return new Map(rows.map((row) => [paymentKey(row.conversation_id, row.request_id), row.rank]));
    },
  };
}
