/** ingest, fanout and history on real engines, spoken to as a gateway does. */
import { jetstreamManager } from '@nats-io/jetstream';
import test from 'ava';
import type { NatsConnection } from 'nats';
import { Gateway } from '../../nats/gateway.ts';
import { LOG, subject } from '../../nats/topology.ts';
import { ApiError } from '../../shared/contract/errors.ts';
import { uuid7 } from '../../shared/ids.ts';
import type { Answer, SendCommand } from '../../shared/pipeline/commands.ts';
import { type Env, startEnv } from '../env/index.ts';
import { insertPerson as newPerson, type PersonRow } from '../env/people.ts';
import { directMessage, type InboxItem, readInbox as inboxOf } from './inbox.ts';

let env: Env;
let gateway: Gateway;

let nc: NatsConnection;

const person = (): Promise<PersonRow> => newPerson(env);
const items = (user: string, target?: string): Promise<InboxItem[]> => inboxOf(nc, env, user, target);

test.before(async () => {
  env = await startEnv();
  await env.start('ingest', 'fanout', 'history');
  nc = await env.nats('admin');
  gateway = new Gateway(await env.nats('edge'), env.config);
});
test.after.always(async () => {
  gateway?.close();
  await env?.stop();
});

test('[M01] [M02] messages get contiguous seqs and reach the inbox and history byte for byte', async (t) => {
  const [a, b] = [await person(), await person()];
  const payloads = ['plain', 'quote " and \\ backslash', 'nul \u0000 and lone \ud800', '🦭'.repeat(50)];
  const answers = await Promise.all(
    payloads.map((payload) => gateway.call(directMessage(a, b), JSON.stringify(payload))),
  );
  t.deepEqual(
    answers.map(({ seq }) => seq),
    [1, 2, 3, 4],
  );
  await env.settle();
  const inbox = await items(b.user);
  t.deepEqual(
    inbox.map(({ frame }) => [frame.type, frame.message?.seq, frame.message?.payload]),
    payloads.map((payload, i) => ['message.created', i + 1, payload]),
  );
  t.true(inbox.every(({ cursor }, i) => i === 0 || cursor > inbox[i - 1]!.cursor));
  t.deepEqual(await items(a.user), [], 'the sender has one device and gets no copy');
  const rows = await env.db.query('select seq, payload from messages where conversation_id = $1 order by seq', [
    answers[0]!.conversation_id,
  ]);
  t.deepEqual(
    rows,
    payloads.map((payload, i) => ({ seq: i + 1, payload })),
  );
});

test('[M03] the same client id is one message: simultaneously, later and through two gateways', async (t) => {
  const [a, b] = [await person(), await person()];
  const other = new Gateway(await env.nats('edge'), env.config);
  const command = directMessage(a, b);
  const answers = await Promise.all(
    Array.from({ length: 20 }, (_, i) => (i % 2 ? gateway : other).call(command, '"x"')),
  );
  t.is(new Set(answers.map(({ message_id }) => message_id)).size, 1);
  t.is(answers.filter(({ repeated }) => !repeated).length, 1);
  await env.settle();
  const late = await gateway.call(command, '"x"');
  t.like(late, { repeated: true, message_id: answers[0]!.message_id, seq: 1 });
  t.is((await items(b.user)).length, 1);
  other.close();
});

test('[C01] [M02] simultaneous first messages from both sides create one conversation', async (t) => {
  const [a, b] = [await person(), await person()];
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, i) => gateway.call(i % 2 ? directMessage(a, b) : directMessage(b, a), `"${i}"`)),
  );
  t.is(new Set(answers.map(({ conversation_id }) => conversation_id)).size, 1);
  t.deepEqual(
    answers.map(({ seq }) => seq).sort((x, y) => x - y),
    Array.from({ length: 40 }, (_, i) => i + 1),
  );
  await env.settle();
  t.is((await items(a.user)).length, 20);
  t.is((await items(b.user)).length, 20);
});

const refused = async (call: Promise<Answer>): Promise<string> =>
  call.then(
    () => 'accepted',
    (error: unknown) => (error instanceof ApiError ? error.code : String(error)),
  );

test('[C02] [M04] each member of a group gets one item, and senders who are not members get not_found', async (t) => {
  const [a, b, c, stranger] = [await person(), await person(), await person(), await person()];
  const group = uuid7();
  await gateway.call({
    kind: 'create',
    conversation_id: group,
    user_id: a.user,
    device_id: a.device,
    type: 'group',
    name: 'seals',
    member_ids: [b.user, c.user],
  });
  const say = (from: PersonRow): SendCommand => ({
    kind: 'send',
    user_id: from.user,
    device_id: from.device,
    conversation_id: group,
    client_message_id: uuid7(),
  });
  t.like(await gateway.call(say(b), '"hello"'), { seq: 1, conversation_id: group });
  t.is(await refused(gateway.call(say(stranger), '"x"')), 'not_found');
  t.is(await refused(gateway.call({ ...say(a), conversation_id: uuid7() }, '"x"')), 'not_found');
  t.is(await refused(gateway.call(directMessage(a, { user: uuid7(), device: '' }), '"x"')), 'not_found');
  await env.settle();
  t.deepEqual(
    (await items(c.user)).map(({ frame }) => frame.type),
    ['conversation.updated', 'message.created'],
  );
  const members = await env.db.query(
    'select user_id, role from members where conversation_id = $1 order by role desc, user_id',
    [group],
  );
  t.is(members.length, 3);
  t.like(members[0], { user_id: a.user, role: 'owner' });
});

test('[M01] an envelope reaches its own device only', async (t) => {
  const [a, b] = [await person(), await person()];
  const { packEnvelopes } = await import('../../shared/pipeline/commands.ts');
  const devices = [b.device, a.device];
  const command = directMessage(a, b, { envelopes: devices.map((device_id) => ({ device_id })) });
  await gateway.call(command, packEnvelopes(['"for b"', '"for a"']));
  await env.settle();
  t.deepEqual(
    (await items(b.user, b.device)).map(({ frame }) => frame.message?.payload),
    ['for b'],
  );
  t.deepEqual(await items(b.user), []);
  const foreign = await person();
  t.is(
    await refused(
      gateway.call(directMessage(a, b, { envelopes: [{ device_id: foreign.device }] }), packEnvelopes(['"x"'])),
    ),
    'device_mismatch',
  );
});

test('[M07] a read receipt moves read_seq in the projection and is delivered to the other side', async (t) => {
  const [a, b] = [await person(), await person()];
  const { conversation_id } = await gateway.call(directMessage(a, b), '"x"');
  const read = { kind: 'read' as const, conversation_id, user_id: b.user, device_id: b.device, seq: 1 };
  t.like(await gateway.call(read), { repeated: false });
  t.like(await gateway.call(read), { repeated: true });
  t.is(await refused(gateway.call({ ...read, seq: 9 })), 'invalid_request');
  await env.settle();
  t.like((await items(a.user))[0]?.frame, {
    type: 'message.status',
    status: 'read',
    conversation_id,
    seq: 1,
    user_id: b.user,
  });
  t.like((await items(b.user)).at(-1)?.frame, { type: 'receipt.read', seq: 1 });
  t.deepEqual(
    await env.db.query('select read_seq from members where conversation_id = $1 and user_id = $2', [
      conversation_id,
      b.user,
    ]),
    [{ read_seq: 1 }],
  );
});

test('[M01] sent is reported once the message is in every inbox', async (t) => {
  const [a, b] = [await person(), await person()];
  const seen = await new Promise<number>((resolve, reject) => {
    gateway.submit(directMessage(a, b), Buffer.from('"x"'), {
      answered: () => {},
      failed: reject,
      sent: () => items(b.user).then((all) => resolve(all.length), reject),
    });
  });
  t.is(seen, 1);
});

test('[M01] undecodable bytes become a dead letter, and the rest continues', async (t) => {
  const [a, b] = [await person(), await person()];
  const command = directMessage(a, b);
  for (let p = 0; p < env.config.PARTITIONS; p++) nc.publish(subject.ingress(p), 'poison');
  for (let p = 0; p < env.config.PARTITIONS; p++) nc.publish(subject.log(p), 'poison');
  await nc.flush();
  t.like(await gateway.call(command, '"after"'), { seq: 1 });
  await env.settle();
  t.is((await items(b.user)).length, 1);
  const manager = await jetstreamManager(nc);
  const { state } = await manager.streams.info('DEAD', { subjects_filter: '>' });
  t.deepEqual(Object.keys(state.subjects ?? {}).sort(), ['dead.fanout', 'dead.history', 'dead.ingest']);
  t.is((await manager.streams.info(LOG)).config.name, LOG);
});
