/** One client that wants to hurt the others: what it may cost them is bounded. */
import test from 'ava';
import type { Session } from '../../client/index.ts';
import { HistoryPages } from '../../services/edge/commands/history-pages.ts';
import { Connection, type Socket } from '../../services/edge/connections/connection.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({
    WS_RATE_LIMIT_MAX_COMMANDS: 40,
    WS_RATE_LIMIT_WINDOW_SEC: 86_400,
    WS_MAX_FREE_BYTES: 512,
    WS_RATE_LIMIT_MAX_IDLE: 50,
    WS_MAX_REFUSED_BYTES: 300_000,
    WS_MAX_HISTORY_WAITING: 3,
    HISTORY_MAX_PAGE_BYTES: 5_000,
    HISTORY_POOL: 1,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());

const openSocket = async (): Promise<TestSocket> => await TestSocket.open(at, await registerPerson(at));

/** A ping of 110 KB with 10,000 unknown fields. */
const BULKY = JSON.stringify({
  type: 'ping',
  ...Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`f${i}`, 1])),
});

test('[R03] large malformed frames count with their bytes and close the socket, and others are served', async (t) => {
  const [hostile, fine] = [await openSocket(), await openSocket()];
  for (let i = 0; i < 300; i++) hostile.send(BULKY);
  fine.send({ type: 'ping' });
  t.is(await hostile.waitForClose(), 4400);
  await fine.waitFor('pong');
  const errors = hostile.framesOf('error');
  t.true(errors.length <= Math.ceil(300_000 / BULKY.length), `${errors.length} were taken`);
  t.true(errors.every(({ code }) => code === 'too_large'));
  fine.socket.close();
});

test('[R03] the bytes of refused commands count, whatever their type', async (t) => {
  const hostile = await openSocket();
  const dance = JSON.stringify({ type: 'dance', x: 'x'.repeat(100_000) });
  for (let i = 0; i < 20; i++) hostile.send(dance);
  t.is(await hostile.waitForClose(), 4400);
  t.true(hostile.framesOf('error').length <= 3);
});

test('[R03] malformed or oversized free frames count as commands', async (t) => {
  const one = await openSocket();
  for (let i = 0; i < 20; i++) one.send({ type: 'ping', x: 1 });
  for (let i = 0; i < 20; i++) one.send({ x: 1, type: 'ping', id: 'y'.repeat(600) });
  await one.waitFor('error', 40);
  one.send({ type: 'dance', id: 'over' });
  t.like(await one.waitFor('error', 41), { id: 'over', code: 'rate_limited' });
  one.send({ type: 'ping', id: 'good' });
  t.like(await one.waitFor('pong'), { id: 'good' });
  for (let i = 0; i < 80; i++) one.send({ type: 'ping', x: 1 });
  t.is(await one.waitForClose(), 4429);
});

test('[R03] pings and empty acknowledgements over their limit count as commands, and real acknowledgements are free', async (t) => {
  const [pings, acks] = [await openSocket(), await openSocket()];
  for (let i = 0; i < 1_000; i++) pings.send({ type: 'ping' });
  t.is(await pings.waitForClose(), 4429);
  t.is(pings.framesOf('pong').length, 50 + 40);
  for (let i = 0; i < 1_000; i++) acks.send({ type: 'inbox.ack', cursor: 1 });
  t.is(await acks.waitForClose(), 4429);
  const [sender, reader] = [await registerPerson(at), await registerPerson(at)];
  const quiet = await TestSocket.open(at, reader);
  const busy = await TestSocket.open(at, sender);
  for (let i = 1; i <= 40; i++)
    busy.send({ type: 'message.send', client_message_id: `${i}`, to: { user_id: reader.user.id }, payload: 'p' });
  await busy.waitFor('ack', 40);
  const items = async (): Promise<unknown[]> => {
    await quiet.waitFor('message.created', 40);
    return quiet.framesOf('message.created').map(({ cursor }) => cursor);
  };
  // More frames in all than are free: half of them acknowledge.
  for (const cursor of await items()) for (let i = 0; i < 2; i++) quiet.send({ type: 'inbox.ack', cursor });
  quiet.send({ type: 'ping', id: 'end' });
  await until(() => quiet.framesOf('pong').some(({ id }) => id === 'end'));
  t.deepEqual(quiet.framesOf('error'), []);
  for (const one of [quiet, busy]) one.socket.close();
});

async function talk(
  count: number,
  size: number,
): Promise<{ me: TestSocket; session: Session; conversation_id: string }> {
  const [session, to] = [await registerPerson(at), await registerPerson(at)];
  const me = await TestSocket.open(at, session);
  for (let i = 0; i < count; i++)
    me.send({
      type: 'message.send',
      client_message_id: `${i}`,
      to: { user_id: to.user.id },
      payload: 'p'.repeat(size),
    });
  const { conversation_id } = await me.waitFor('ack', count);
  await env.settle();
  return { me, session, conversation_id: String(conversation_id) };
}

test('[H01] [R03] a history page is limited in bytes, holds at least one message and says whether there are more', async (t) => {
  const { me, conversation_id } = await talk(5, 2_000);
  const seqs: number[] = [];
  for (let after_seq = 0, more = true; more; after_seq = seqs.at(-1)!) {
    me.send({ type: 'history.get', id: String(after_seq), conversation_id, after_seq });
    await until(() => me.framesOf('history').some(({ id }) => id === String(after_seq)));
    const page = me.framesOf('history').at(-1)! as { messages: { seq: number }[]; more: boolean };
    t.is(page.messages.length <= 3 && page.messages.length > 0, true);
    seqs.push(...page.messages.map(({ seq }) => seq));
    more = page.more;
  }
  t.deepEqual(seqs, [1, 2, 3, 4, 5]);
  me.send({ type: 'history.get', id: 'down', conversation_id, limit: 2 });
  await until(() => me.framesOf('history').some(({ id }) => id === 'down'));
  t.like(me.framesOf('history').at(-1), { more: true, messages: [{ seq: 5 }, { seq: 4 }] });
  const large = await talk(2, 9_000);
  large.me.send({ type: 'history.get', conversation_id: large.conversation_id, after_seq: 0 });
  t.like(await large.me.waitFor('history'), { more: true, messages: [{ seq: 1 }] });
  for (const one of [me, large.me]) one.socket.close();
});

test('[H01] a history page over HTTP is limited in bytes, and next_cursor leads to the rest', async (t) => {
  const { me, session, conversation_id } = await talk(5, 2_000);
  const seqs: number[] = [];
  const path = `/v1/conversations/${conversation_id}/messages`;
  for (let next: string | null = 'after_seq=0'; next; ) {
    const page: { items: { seq: number }[]; next_cursor: string | null } = await session.call('GET', `${path}?${next}`);
    t.is(page.items.length <= 3 && page.items.length > 0, true);
    seqs.push(...page.items.map(({ seq }) => seq));
    next = page.next_cursor && `cursor=${page.next_cursor}`;
  }
  t.deepEqual(seqs, [1, 2, 3, 4, 5]);
  me.socket.close();
});

test.serial(
  '[R03] history pages of one socket are read one at a time, a few may wait, and other sockets are not blocked',
  async (t) => {
    const { me, conversation_id } = await talk(1, 10);
    await env.db.transaction(async ({ query }) => {
      await query('lock table messages in access exclusive mode');
      for (let i = 0; i < 10; i++) me.send({ type: 'history.get', id: `h${i}`, conversation_id });
      await me.waitFor('error', 6);
      t.deepEqual(
        me.framesOf('error').map(({ id, code }) => `${id} ${code}`),
        [4, 5, 6, 7, 8, 9].map((i) => `h${i} rate_limited`),
      );
      // Each of them would hold the one connection for pages, and eight at once those of everything else.
      const others = await Promise.all(Array.from({ length: 9 }, openSocket));
      for (const one of others) one.send({ type: 'history.get', conversation_id: uuid7() });
      const late = await openSocket();
      late.send({ type: 'ping' });
      await late.waitFor('pong');
      const [{ waiting }] = (await env.db.query(
        `select count(*) as waiting from pg_locks where relation = 'messages'::regclass and not granted`,
      )) as [{ waiting: number }];
      t.is(waiting, 1, 'one page is being read');
      await query('rollback');
      await me.waitFor('history', 4);
      for (const one of others) t.like(await one.waitFor('error'), { code: 'not_found' });
      for (const one of [...others, late]) one.socket.close();
    });
    t.deepEqual(
      me.framesOf('history').map(({ id }) => id),
      ['h0', 'h1', 'h2', 'h3'],
    );
    me.socket.close();
  },
);

test('[R03] [R05] no history page is read for a socket whose buffer is full', async (t) => {
  let buffered = 2 * env.config.WS_MAX_BUFFERED_BYTES;
  const socket = { send: () => 0, cork: (write: () => void) => write(), getBufferedAmount: () => buffered };
  const options = { config: env.config, needsAttention: new Set<Connection>(), counts: { out: 0 } };
  const identity = { user_id: uuid7(), device_id: uuid7(), session_id: uuid7(), expires_at: 0 };
  const connection = new Connection(options, socket as unknown as Socket, uuid7(), identity);
  connection.send('more than it reads');
  connection.flush();
  t.true(connection.isFull);
  const asked: string[] = [];
  const db = {
    query: async <T>(sql: string) => {
      asked.push(sql);
      return [{ seq: 1, sent_at: new Date(), payload: 'p', found: 1 }] as T[];
    },
  };
  const pages: number[] = [];
  const page = new HistoryPages(db, env.config).get(
    connection,
    { type: 'history.get', conversation_id: uuid7() },
    ({ messages }) => void pages.push(messages.length),
  );
  // Whoever does not wait for room has asked by the next turn.
  await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(asked, []);
  buffered = 0;
  connection.checkRoom();
  await page;
  t.deepEqual([asked.length, pages], [1, [1]]);
});
