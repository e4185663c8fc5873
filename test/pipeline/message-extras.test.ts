/** Sends a message with every optional field, and reads it back from the inbox and from history. */
import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import type { MessageExtras } from '../../shared/contract/message-extras.ts';
import { readPageBySeq } from '../../shared/db/message-queries.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson } from '../env/people.ts';
import { directMessage, readInbox } from './inbox.ts';

let env: Env;
let gateway: Gateway;
test.before(async () => {
  env = await startEnv();
  await env.start('ingest', 'fanout', 'history');
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

/** A new field of a message does not compile here until it has a value. */
const EXTRAS = {
  attachments: [{ media_id: uuid7(), content_type: 'image/webp', filename: 'a "quoted" name.webp', size: 5 }],
  reply_to: uuid7(),
  expires_in_sec: 3_600,
  signature: 'c2lnbmF0dXJl',
} satisfies Required<MessageExtras>;

test('every optional field of a message reaches the inbox and history', async (t) => {
  const [a, b] = [await insertPerson(env), await insertPerson(env)];
  const { conversation_id } = await gateway.call(directMessage(a, b, EXTRAS), '"x"');
  await env.settle();
  const [item] = await readInbox(await env.nats('admin'), env, b.user);
  const { message } = item!.frame as { message: Record<string, unknown> };
  const { expires_in_sec, ...same } = EXTRAS;
  t.like(message, same);
  t.is(Date.parse(String(message.expires_at)) - Date.parse(String(message.sent_at)), expires_in_sec * 1_000);
  const reader = { user_id: b.user, device_id: b.device, conversation_id };
  const { messages } = await readPageBySeq(env.db, reader);
  t.deepEqual(messages as unknown[], [message]);
});
