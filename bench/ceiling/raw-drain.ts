/** Measures the ceiling of a drain: durables over the same inbox subjects, consumed by the bare NATS client. */
import { AckPolicy, jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { inboxStream, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { shardOf } from '../../shared/ids.ts';
import type { WorkerBacklog } from '../backlog.ts';
import { forEachConcurrently } from '../devices.ts';

/** Messages that the client requests ahead. */
const PREFETCH = 1_000;
/** An acknowledgement covers all messages before it, as at the edge. */
const ACK_EVERY = 256;

/** Consumes `itemsEach` items of every user. @returns items a second, up to the last acknowledgement */
export async function measureRawDrain(
  nc: NatsConnection,
  { manager }: WorkerBacklog,
  { INBOX_SHARDS }: Config,
  users: string[],
  itemsEach: number,
): Promise<number> {
  const js = jetstream(nc);
  const startedAt = performance.now();
  await forEachConcurrently(users, async (user) => {
    const stream = inboxStream(shardOf(user, INBOX_SHARDS));
    const name = `bench_${user}`;
    await manager.consumers.add(stream, {
      durable_name: name,
      filter_subject: subject.inbox(user, 'all', INBOX_SHARDS),
      ack_policy: AckPolicy.All,
      max_ack_pending: 10 * PREFETCH,
    });
    const consumer = await js.consumers.get(stream, name);
    const messages = await consumer.consume({ max_messages: Math.min(PREFETCH, itemsEach) });
    let received = 0;
    for await (const message of messages) {
      if (++received === itemsEach) {
        await message.ackAck();
        break;
      }
      if (received % ACK_EVERY === 0) message.ack();
    }
    await messages.close();
  });
  const elapsedSec = (performance.now() - startedAt) / 1_000;
  for (const user of users) await manager.consumers.delete(inboxStream(shardOf(user, INBOX_SHARDS)), `bench_${user}`);
  return Math.round((users.length * itemsEach) / elapsedSec);
}
