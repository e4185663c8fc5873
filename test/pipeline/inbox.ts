/** Gateway-level helpers of the pipeline's tests: people straight in Postgres, inboxes read as the broker holds them. */
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { item } from '../../nats/inbox/item.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { inboxStream, subject } from '../../nats/topology.ts';
import { directConversationId, shardOf, uuid7 } from '../../shared/ids.ts';
import type { SendCommand } from '../../shared/pipeline/commands.ts';
import type { Env } from '../env/index.ts';

export interface Person {
  user: string;
  device: string;
}
export interface InboxItem {
  cursor: number;
  frame: { type: string; message?: { id: string; seq: number; payload: string } };
}

export async function person(env: Env): Promise<Person> {
  const [user, device] = [uuid7(), uuid7()];
  const number = String(10_000_000 + Math.floor(Math.random() * 89_999_999));
  await env.db.query('insert into users (id, number) values ($1, $2)', [user, number]);
  await env.db.query("insert into devices (id, user_id, name, platform) values ($1, $2, 'one', 'test')", [
    device,
    user,
  ]);
  return { user, device };
}

export const toPerson = (from: Person, to: Person, more: Partial<SendCommand> = {}): SendCommand => ({
  kind: 'send',
  user_id: from.user,
  device_id: from.device,
  conversation_id: directConversationId(from.user, to.user),
  to: to.user,
  client_message_id: uuid7(),
  ...more,
});

/** Everything that waits for a user, or for one device where the sender sealed for each. */
export async function items(nc: NatsConnection, env: Env, user: string, target = 'all'): Promise<InboxItem[]> {
  const manager = await jetstreamManager(nc);
  const out: InboxItem[] = [];
  const shards = env.config.INBOX_SHARDS;
  for (let next = 1, got = 1; got > 0; ) {
    got = 0;
    const query = { seq: next, next_by_subj: subject.inbox(user, target, shards), batch: 500 };
    for await (const message of readDirectBatch(manager, inboxStream(shardOf(user, shards)), query)) {
      const data = Buffer.from(message.data);
      const cursor = item.base(data) + message.seq;
      out.push({ cursor, frame: JSON.parse(item.frame(data, cursor).toString()) });
      next = message.seq + 1;
      got++;
    }
  }
  return out;
}
