/** Commands as a gateway submits them, and inboxes as the broker holds them. */
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { item } from '../../nats/inbox/item.ts';
import { readDirectBatch } from '../../nats/log-reader.ts';
import { inboxStream, subject } from '../../nats/topology.ts';
import { directConversationId, shardOf, uuid7 } from '../../shared/ids.ts';
import type { SendCommand } from '../../shared/pipeline/commands.ts';
import type { Env } from '../env/index.ts';
import type { PersonRow } from '../env/people.ts';

export interface InboxItem {
  cursor: number;
  frame: { type: string; message?: { id: string; seq: number; payload: string } };
}

/** A message to the direct conversation of two people. */
export const directMessage = (from: PersonRow, to: PersonRow, more: Partial<SendCommand> = {}): SendCommand => ({
  kind: 'send',
  user_id: from.user,
  device_id: from.device,
  conversation_id: directConversationId(from.user, to.user),
  to: to.user,
  client_message_id: uuid7(),
  ...more,
});

/** Reads everything that waits for a user, or for one device where the sender sealed for each. */
export async function readInbox(nc: NatsConnection, env: Env, user: string, target = 'all'): Promise<InboxItem[]> {
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

/** Kills the broker, deletes the files of all inbox streams and restarts it, as a power cut may leave them. */
export async function loseInboxes(env: Env): Promise<void> {
  await env.broker.kill9();
  const streams = join(env.dir, 'nats', 'jetstream', 'SEALWIRE', 'streams');
  for (const name of readdirSync(streams))
    if (name.startsWith('INBOX')) rmSync(join(streams, name), { recursive: true });
  await env.broker.restart();
}
