/** What one person may do, over all sockets, HTTP and processes together. */
import test from 'ava';
import { requestApi } from '../../client/http.ts';
import { SealwireError } from '../../client/index.ts';
import type { Session } from '../../client/session.ts';
import { CommandLimits } from '../../nats/command-limits.ts';
import { subject } from '../../nats/topology.ts';
import { uuid7 } from '../../shared/ids.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { addDevice, issueTicket, openConversation, registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

const LIMIT = 80;
const SHARE = LIMIT / 8;
let env: Env;
let at: Addresses;

test.before(async () => {
  env = await startEnv({
    WS_RATE_LIMIT_MAX_COMMANDS: LIMIT,
    // So that no test sees its window end.
    WS_RATE_LIMIT_WINDOW_SEC: 86_400,
    WS_MAX_CONNECTIONS_PER_USER: 3,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
});
test.after.always(() => env?.stop());

/** A conversation of somebody with somebody. */
async function talk(): Promise<{ me: Session; id: string }> {
  const [me, to] = [await registerPerson(at), await registerPerson(at)];
  return { me, id: await openConversation(me, to) };
}
/** Posts a message. @returns `queued`, or the code of the refusal */
async function post({ me, id }: { me: Session; id: string }, api = me.api): Promise<string> {
  const body = { client_message_id: uuid7(), payload: 'p' };
  const headers = { authorization: `Bearer ${me.access_token}` };
  try {
    return (await requestApi<{ status: string }>(api, 'POST', `/v1/conversations/${id}/messages`, body, headers))
      .status;
  } catch (error) {
    if (!(error instanceof SealwireError)) throw error;
    if (error.code === 'rate_limited' && !(error.retry_after_ms! > 0)) throw new Error('without retry_after_ms');
    return error.code;
  }
}

test('[R03] commands count per person, so another socket of another device has only the remainder', async (t) => {
  const first = await registerPerson(at);
  const one = await TestSocket.open(at, first);
  for (let i = 0; i < LIMIT; i++) one.send({ type: 'dance' });
  await one.waitFor('error', LIMIT);
  t.true(one.framesOf('error').every(({ code }) => code === 'invalid_request'));
  const other = await TestSocket.open(at, await addDevice(first));
  other.send({ type: 'dance' });
  t.like(await other.waitFor('error'), { code: 'rate_limited' });
  one.socket.close();
  await one.waitForClose();
  const again = await TestSocket.open(at, first);
  again.send({ type: 'dance' });
  t.like(await again.waitFor('error'), { code: 'rate_limited' });
  const stranger = await TestSocket.open(at, await registerPerson(at));
  stranger.send({ type: 'dance' });
  t.like(await stranger.waitFor('error'), { code: 'invalid_request' });
  for (const raw of [other, again, stranger]) raw.socket.close();
});

test('[R03] [M15] messages over HTTP and on the socket share one limit', async (t) => {
  const conversation = await talk();
  const answers: string[] = [];
  for (let i = 0; i < LIMIT; i++) answers.push(await post(conversation));
  // Making the conversation was the first command.
  t.deepEqual([answers.filter((answer) => answer === 'queued').length, answers.at(-1)], [LIMIT - 1, 'rate_limited']);
  const raw = await TestSocket.open(at, conversation.me);
  raw.send({ type: 'receipt.read', conversation_id: conversation.id, seq: 1 });
  await until(async () => {
    raw.send({ type: 'history.get', conversation_id: conversation.id });
    return raw.framesOf('error').some(({ code }) => code === 'rate_limited');
  });
  t.true(raw.framesOf('history').length <= SHARE, 'the edge knows all but the last share');
  raw.socket.close();
});

test('[R03] [R07] several processes together grant the limit and at most one share more each', async (t) => {
  const conversation = await talk();
  const other = await env.spawn('api');
  const answers: string[] = [];
  const both = [at.apiUrl, other.apiUrl];
  while (answers.slice(-both.length).filter((answer) => answer === 'rate_limited').length < both.length)
    answers.push(await post(conversation, both[answers.length % 2]));
  const queued = answers.filter((answer) => answer === 'queued').length;
  t.true(queued >= LIMIT - 1 && queued <= LIMIT + both.length * SHARE, `${queued} were taken`);
  await other.stop();
});

test('[R03] a person below a share causes no message between processes', async (t) => {
  const nc = await env.nats('admin');
  const told: string[] = [];
  nc.subscribe(subject.commands, {
    callback: (_, message) => void told.push(message.json<{ user_id: string }>().user_id),
  });
  await nc.flush();
  const [quiet, busy] = [await registerPerson(at), await registerPerson(at)];
  for (const [me, count] of [
    [quiet, SHARE - 1],
    [busy, SHARE],
  ] as const) {
    const raw = await TestSocket.open(at, me);
    for (let i = 0; i < count; i++) raw.send({ type: 'dance' });
    await raw.waitFor('error', count);
    raw.socket.close();
  }
  await until(() => told.includes(busy.user.id));
  t.false(told.includes(quiet.user.id));
  t.is(told.filter((user) => user === busy.user.id).length, 1);
});

test('[R03] a process remembers a bounded number of people and evicts the one counted longest ago', async (t) => {
  const config = { WS_RATE_LIMIT_MAX_COMMANDS: 1, WS_RATE_LIMIT_WINDOW_SEC: 86_400 };
  const limits = new CommandLimits({ nc: await env.nats('api'), config, users: 2 });
  const [a, b, c] = [uuid7(), uuid7(), uuid7()];
  t.deepEqual(
    [a, a, b, b, b, b].map((user) => limits.countCommand(user)),
    ['within', 'over', 'within', 'over', 'over', 'far over'],
  );
  limits.countCommand(c);
  t.is(limits.countCommand(b), 'far over');
  t.is(limits.countCommand(a), 'within');
});

test('[R03] the sockets of a person are limited over all edges, and a device replaces its own socket', async (t) => {
  const first = await registerPerson(at);
  const devices = [first, await addDevice(first), await addDevice(first), await addDevice(first)];
  const open = await Promise.all(devices.slice(0, 3).map((one) => TestSocket.open(at, one)));
  const last = devices[3]!;
  const bearer = { authorization: `Bearer ${last.access_token}` };
  const refused = new TestSocket(`${at.edgeUrl}/v1/ws`, bearer);
  const status = new Promise((resolve) =>
    refused.socket.on('unexpected-response', (_, reply) => resolve(reply.statusCode)),
  );
  t.is(await status, 429, 'known from the token: before the upgrade');
  const ticket = await issueTicket(last);
  t.is(await new TestSocket(`${at.edgeUrl}/v1/ws?ticket=${ticket}`, {}).waitForClose(), 4429);

  const again = await TestSocket.open(at, first);
  t.is(await open[0]!.waitForClose(), 4409);
  const elsewhere = await env.spawn('edge');
  await until(async () => {
    const rows = await env.db.query<{ n: number }>(
      `select count(*) as n from device_presence p join devices d on d.id = p.device_id
       where d.user_id = $1 and p.edge_id is not null`,
      [first.user.id],
    );
    return rows[0]!.n === 3;
  });
  t.is(await new TestSocket(`${elsewhere.edgeUrl}/v1/ws`, bearer).waitForClose(), 4429);
  open[1]!.socket.close();
  await until(async () => {
    const raw = new TestSocket(`${elsewhere.edgeUrl}/v1/ws`, bearer);
    await until(() => raw.frames.length > 0 || raw.closeCode !== undefined);
    raw.socket.close();
    return raw.frames.length > 0;
  });
  for (const raw of [again, open[2]!]) raw.socket.close();
  await elsewhere.stop();
});
