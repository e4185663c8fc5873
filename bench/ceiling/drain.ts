/** The ceiling of a drain: durables over the same inbox subjects, pulled and acknowledged by the bare client library. */
import { AckPolicy, jetstream } from '@nats-io/jetstream';
import type { NatsConnection } from 'nats';
import { inboxStream, subject } from '../../nats/topology.ts';
import type { Config } from '../../shared/config/index.ts';
import { shardOf } from '../../shared/ids.ts';
import type { Backlog } from '../backlog.ts';
import { eachOf } from '../crowd.ts';

const AHEAD = 1_000;
/** Acknowledging one covers those before it, as the edge does it. */
const ACK_EVERY = 256;

/** Items a second, to the last acknowledgement, of `each` items for every one of the users. */
export async function drainRaw(
  nc: NatsConnection,
  { manager }: Backlog,
  { INBOX_SHARDS }: Config,
  users: string[],
  each: number,
): Promise<number> {
  const js = jetstream(nc);
  const begun = performance.now();
  await eachOf(users, async (user) => {
    const stream = inboxStream(shardOf(user, INBOX_SHARDS));
    const name = `bench_${user}`;
    await manager.consumers.add(stream, {
      durable_name: name,
      filter_subject: subject.inbox(user, 'all', INBOX_SHARDS),
      ack_policy: AckPolicy.All,
      max_ack_pending: 10 * AHEAD,
    });
    const consumer = await js.consumers.get(stream, name);
    const messages = await consumer.consume({ max_messages: Math.min(AHEAD, each) });
    let got = 0;
    for await (const message of messages) {
      if (++got === each) {
        await message.ackAck();
        break;
      }
      if (got % ACK_EVERY === 0) message.ack();
    }
    await messages.close();
  });
  const took = (performance.now() - begun) / 1_000;
  for (const user of users) await manager.consumers.delete(inboxStream(shardOf(user, INBOX_SHARDS)), `bench_${user}`);
  return Math.round((users.length * each) / took);
}
