/** Taking a person's inbox out of the broker: what waits there, and the durables of the devices. */
import type { NatsConnection } from 'nats';
import type { Config } from '../../shared/config/index.ts';
import { shardOf } from '../../shared/ids.ts';
import { consumer, inboxStream, subject } from '../topology.ts';

/** JetStream: there is no such consumer, or no such stream. */
const ABSENT = [10014, 10059];
const TIMEOUT_MS = 5_000;

async function ask(nc: NatsConnection, call: string, request: object = {}): Promise<void> {
  const reply = await nc.request(`$JS.API.${call}`, JSON.stringify(request), { timeout: TIMEOUT_MS });
  const { error } = reply.json<{ error?: { err_code?: number; description?: string } }>();
  if (error && !ABSENT.includes(error.err_code ?? 0)) throw new Error(`${call}: ${error.description}`);
}

/** Purges everything that waits for a person and drops the durables of those devices. May be repeated. */
export async function forgetInbox(
  nc: NatsConnection,
  { INBOX_SHARDS }: Pick<Config, 'INBOX_SHARDS'>,
  user_id: string,
  device_ids: readonly string[],
): Promise<void> {
  const stream = inboxStream(shardOf(user_id, INBOX_SHARDS));
  for (const device of device_ids) await ask(nc, `CONSUMER.DELETE.${stream}.${consumer.device(device)}`);
  await ask(nc, `STREAM.PURGE.${stream}`, { filter: subject.inbox(user_id, '*', INBOX_SHARDS) });
}
