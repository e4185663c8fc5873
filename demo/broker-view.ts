/** Shows what the broker and the database hold, as an operator can see it: for the demo and for tests. */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '../nats/connect.ts';
import { consumer, inboxStream } from '../nats/topology.ts';
import type { Config } from '../shared/config/index.ts';
import { openDatabase } from '../shared/db/database.ts';
import { shardOf } from '../shared/ids.ts';

/** The durable consumer of a device that is offline. */
export interface OfflineQueue {
  stream: string;
  consumer: string;
  /** Items that the device has not received. */
  pending: number;
}

export async function openBrokerView(config: Config) {
  const nc = await connectNats(config, 'admin');
  const db = await openDatabase(config);
  const jsm = await jetstreamManager(nc);
  return {
    /** Returns the durable consumer of an offline device, undefined if it has none. */
    async offlineQueueOf(user_id: string, device_id: string): Promise<OfflineQueue | undefined> {
      const stream = inboxStream(shardOf(user_id, config.INBOX_SHARDS));
      const name = consumer.device(device_id);
      try {
        const info = await jsm.consumers.info(stream, name);
        return { stream, consumer: name, pending: info.num_pending };
      } catch {
        return undefined;
      }
    },

    /** Counts the rows of all tables that contain the text in any column. */
    async countRowsWith(text: string): Promise<number> {
      const tables = await db.query<{ name: string }>(
        `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) AS name FROM pg_tables
          WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`,
      );
      let found = 0;
      for (const { name } of tables) {
        const [row] = await db.query<{ n: number }>(
          `SELECT count(*)::int AS n FROM ${name} t WHERE strpos(t::text, $1) > 0`,
          [text],
        );
        found += row!.n;
      }
      return found;
    },

    /** Counts the stored messages of all streams that contain the text. Work queues are left out: reading empties them. */
    async countStreamMessagesWith(text: string): Promise<number> {
      const wanted = Buffer.from(text);
      let found = 0;
      for await (const { config: stream, state } of jsm.streams.list()) {
        if (state.messages === 0 || stream.retention === 'workqueue') continue;
        const reader = await jetstream(nc).consumers.get(stream.name);
        const messages = await reader.fetch({ max_messages: state.messages, expires: 2_000 });
        for await (const message of messages) {
          if (Buffer.from(message.data).includes(wanted)) found++;
          if (message.info.pending === 0) break;
        }
        await reader.delete();
      }
      return found;
    },

    async close(): Promise<void> {
      await nc.close();
      await db.close();
    },
  };
}

export type BrokerView = Awaited<ReturnType<typeof openBrokerView>>;
