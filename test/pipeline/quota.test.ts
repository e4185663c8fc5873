import test from 'ava';
import { Gateway } from '../../nats/gateway.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson, type PersonRow } from '../env/people.ts';
import { directMessage, readInbox } from './inbox.ts';

/** Room for what is under way between a look at an inbox and what follows from it. */
const QUOTA = 80;
let env: Env;
let gateway: Gateway;

test.before(async () => {
  env = await startEnv({ INBOX_QUOTA_ITEMS: QUOTA });
  await env.start('ingest', 'fanout', 'history');
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

const codeOf = (error: unknown): string => (error instanceof ApiError ? error.code : String(error));
const send = (from: PersonRow, to: PersonRow): Promise<string> =>
  gateway.call(directMessage(from, to), '"x"').then(() => 'queued', codeOf);

test('[M06] [M07] a full inbox refuses the sender, who may send again once the device has caught up', async (t) => {
  const [a, b, c] = [await insertPerson(env), await insertPerson(env), await insertPerson(env)];
  let said = 'queued';
  let queued = 0;
  while (said === 'queued') {
    said = await send(a, b);
    if (said === 'queued') queued++;
    t.true(queued < 2 * QUOTA, 'the oldest are dropped at twice the quota: the sender must hear of it before');
  }
  t.is(said, 'queue_full');
  t.is(await send(a, c), 'queued', 'other people are not concerned');
  await env.settle();
  const nc = await env.nats('admin');
  const inbox = await readInbox(nc, env, b.user);
  t.is(inbox.length, queued, 'nothing that was queued is missing');

  const freed = nc.subscribe(`$KV.full.${b.user}`, { max: 1 });
  await nc.flush();
  await env.db.query('insert into device_cursors (device_id, cursor) values ($1, $2)', [
    b.device,
    inbox.at(-1)!.cursor,
  ]);
  for await (const _ of freed) break;
  for (said = 'queue_full'; said === 'queue_full'; ) said = await send(a, b);
  t.is(said, 'queued');
});

test('[M06] [M15] a post to a group with a full member gets queue_full, and nothing of others is dropped', async (t) => {
  const [friend, stranger, victim] = [await insertPerson(env), await insertPerson(env), await insertPerson(env)];
  await gateway.call(directMessage(friend, victim), '"from a friend"');
  // The group may be of another partition, which fanout could write first.
  await env.settle();
  const group = uuid7();
  const { user: user_id, device: device_id } = stranger;
  const about = { user_id, device_id, conversation_id: group };
  await gateway.call({ kind: 'create', ...about, type: 'group', member_ids: [victim.user] });
  let queued = 0;
  let said = 'queued';
  for (; said === 'queued'; queued++) {
    const post = { kind: 'send' as const, ...about, client_message_id: uuid7() };
    // Only so many posts are on their way to the inbox at any time.
    if (queued % 5 === 0) await env.settle();
    said = await gateway.call(post, '"flood"').then(() => 'queued', codeOf);
    t.true(queued < 2 * QUOTA, 'the broker drops the oldest items at twice the quota');
  }
  t.is(said, 'queue_full');
  t.is(await send(friend, victim), 'queued', 'a flooded group does not keep friends from writing');
  await env.settle();
  const nc = await env.nats('admin');
  const [first] = await readInbox(nc, env, victim.user);
  t.is(first?.frame.message?.payload, 'from a friend');
});
