/** The operator's view in the demo: what the broker and the database hold. */
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { connectNats } from '../nats/connect.ts';
import { consumer, inboxStream } from '../nats/topology.ts';
import type { Config } from '../shared/config/index.ts';
import { openDatabase } from '../shared/db/database.ts';
import { shardOf } from '../shared/ids.ts';

export interface Waiting {
  stream: string;
  consumer: string;
  pending: number;
}

export async function openLook(config: Config) {
  const nc = await connectNats(config, 'admin');
  const db = await openDatabase(config);
  const jsm = await jetstreamManager(nc);
  return {
    /** What waits for a device that is away; undefined while it has no durable consumer. */
    async waiting(user_id: string, device_id: string): Promise<Waiting | undefined> {
      const stream = inboxStream(shardOf(user_id, config.INBOX_SHARDS));
      const name = consumer.device(device_id);
      try {
        const info = await jsm.consumers.info(stream, name);
        return { stream, consumer: name, pending: info.num_pending };
      } catch {
        return undefined;
      }
    },

    /** Rows of all tables that contain the text anywhere. */
    async rows(text: string): Promise<number> {
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

    /** Stored messages of all streams that contain the text anywhere. */
    async stored(text: string): Promise<number> {
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
