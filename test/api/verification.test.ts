/** Registration with verification on, by email over real SMTP and by phone over HTTP. */
import test from 'ava';
import { Session } from '../../client/index.ts';
import type { BodyOf } from '../../shared/contract/http/routes.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { PASSWORD, TestSocket } from '../env/people.ts';
import { Api, QUICK_HASHING, type Reply } from './http.ts';
import { extractCode, type Mailbox, startMailServer, startSmsProvider, wrongCode } from './mailbox.ts';

let env: Env;
let api: Api;
let at: Addresses;
let mail: Mailbox;
let phones: Mailbox;
test.before(async () => {
  [mail, phones] = await Promise.all([startMailServer(), startSmsProvider('sms secret')]);
  env = await startEnv({
    ...QUICK_HASHING,
    AUTH_VERIFICATION: 'email',
    SMTP_URL: mail.url,
    SMS_WEBHOOK_URL: phones.url,
    SMS_WEBHOOK_TOKEN: 'sms secret',
    AUTH_LOCK_MAX_FAILURES: 50,
  });
  at = await env.start('ingest', 'fanout', 'history', 'api', 'edge');
  api = new Api(at.apiUrl);
});
test.after.always(async () => {
  await env.stop();
  await Promise.all([mail.close(), phones.close()]);
});

const password = PASSWORD;
const device = { name: 'phone', platform: 'ios' };
/** With verification on, what comes back is no log-in yet. */
const register = async (
  more: Partial<BodyOf<'auth.register'>>,
  on = api,
): Promise<Reply<{ user_id: string; status: string }>> =>
  (await on.ask('auth.register', { body: { password, device, ...more } })) as unknown as Reply<{
    user_id: string;
    status: string;
  }>;
const verify = (user_id: string, code: string, on = api) => on.ask('auth.verify', { body: { user_id, code } });
const login = (identifier: string, on = api) => on.ask('auth.login', { body: { identifier, password, device } });

test('[A02] an account cannot be used until the code sent by mail is entered', async (t) => {
  const { status, data } = await register({ email: 'Ada@Example.org', name: 'Ada', keys: { identity_key: 'S0VZ' } });
  t.is(status, 202);
  t.is(data.status, 'verification_sent');
  t.is((await login('ada@example.org')).error?.code, 'unauthenticated');
  const letter = await mail.waitForLetter('ada@example.org');
  t.regex(letter.text, /^From: Sealwire/m);
  const done = await verify(data.user_id, extractCode(letter));
  t.is(done.status, 201);
  t.is(done.data.user.id, data.user_id);
  t.is(done.data.user.name, 'Ada');
  t.is(done.data.device.identity_key, 'S0VZ');
  t.is((await login('ada@example.org')).status, 200);
  const socket = await TestSocket.open(at, new Session({ api: api.url, ...done.data }));
  t.is((await socket.waitFor('connection.welcome')).user_id, data.user_id);
  socket.socket.terminate();
});

test('[A02] a code is valid once, even when it is entered a hundred times simultaneously', async (t) => {
  const { data } = await register({ email: 'once@example.org' });
  const code = extractCode(await mail.waitForLetter('once@example.org'));
  const all = await Promise.all(Array.from({ length: 100 }, () => verify(data.user_id, code)));
  t.is(all.filter(({ status }) => status === 201).length, 1);
  t.true(all.every(({ status, error }) => status === 201 || ['code_invalid', 'rate_limited'].includes(error!.code)));
  t.not((await verify(data.user_id, code)).status, 201);
});

test('[A02] after five wrong tries the right code is refused', async (t) => {
  const { data } = await register({ email: 'five@example.org' });
  const code = extractCode(await mail.waitForLetter('five@example.org'));
  for (let i = 0; i < 5; i++) t.is((await verify(data.user_id, wrongCode(code))).error?.code, 'code_invalid');
  t.is((await verify(data.user_id, code)).error?.code, 'code_invalid');
});

test('[A02] an expired code and another person’s code are refused', async (t) => {
  const one = await register({ email: 'late@example.org' });
  const other = await register({ email: 'other@example.org' });
  const [late, good] = [
    extractCode(await mail.waitForLetter('late@example.org')),
    extractCode(await mail.waitForLetter('other@example.org')),
  ];
  if (late !== good) t.is((await verify(other.data.user_id, late)).error?.code, 'code_invalid');
  await env.db.query(`update codes set expires_at = now() where id = $1`, [one.data.user_id]);
  t.is((await verify(one.data.user_id, late)).error?.code, 'code_invalid');
  t.is((await verify(other.data.user_id, good)).status, 201);
});

test('[A02] a stranger who registers the same address gains nothing from the owner’s code', async (t) => {
  const owner = await register({ email: 'mine@example.org', password: 'the owner chose this' });
  const first = extractCode(await mail.waitForLetter('mine@example.org'));
  const stranger = await register({ email: 'mine@example.org', password: 'a stranger chose this' });
  await mail.waitForLetter('mine@example.org', 1);
  // The owner enters the code that the stranger caused: it completes only what the stranger began.
  t.is((await verify(owner.data.user_id, first)).status, 201);
  t.is((await verify(stranger.data.user_id, first)).error?.code, 'code_invalid');
  const body = { identifier: 'mine@example.org', device };
  t.is((await api.ask('auth.login', { body: { ...body, password: 'a stranger chose this' } })).status, 401);
  t.is((await api.ask('auth.login', { body: { ...body, password: 'the owner chose this' } })).status, 200);
});

test('[A02] [A10] registering an existing address gets the same answer, and its owner gets a mail', async (t) => {
  const { data } = await register({ email: 'taken@example.org' });
  await verify(data.user_id, extractCode(await mail.waitForLetter('taken@example.org')));
  const again = await register({ email: 'TAKEN@example.org' });
  t.is(again.status, 202);
  t.deepEqual(Object.keys(again.data), Object.keys(data));
  const letter = await mail.waitForLetter('taken@example.org', 1);
  t.notRegex(letter.text, /\b\d{6}\b/);
  t.regex(letter.text, /have an account/);
});

test('[A02] codes are stored as keyed hashes, and pending registrations are encrypted', async (t) => {
  const { data } = await register({ email: 'hidden@example.org', name: 'Very Hidden' });
  const code = extractCode(await mail.waitForLetter('hidden@example.org'));
  const [row] = await env.db.query<{ row: string }>('select c::text as row from codes c where id = $1', [data.user_id]);
  for (const text of [code, 'hidden@example.org', 'Very Hidden', password]) {
    t.false(row!.row.includes(text));
    t.false(row!.row.includes(Buffer.from(text).toString('hex')));
  }
});

test('[A02] an identifier that cannot be verified is refused, and a taken username is reported', async (t) => {
  t.deepEqual((await register({ email: 'x@example.org', phone: '+15550100200' })).error?.details, { field: 'phone' });
  t.is((await register({ username: 'only_a_name' })).error?.code, 'invalid_request');
  const { data } = await register({ email: 'named@example.org', username: 'named_one' });
  await verify(data.user_id, extractCode(await mail.waitForLetter('named@example.org')));
  t.deepEqual((await register({ email: 'named2@example.org', username: 'Named_One' })).error?.details, {
    field: 'username',
  });
  for (const body of [{ user_id: data.user_id, code: '12345' }, { user_id: 'x', code: '123456' }, { code: '123456' }])
    t.is((await api.ask('auth.verify', { body })).error?.code, 'invalid_request');
});

test('[A10] the number of codes sent to one address is limited, and the refusal says for how long', async (t) => {
  const answers = [];
  for (let i = 0; i < 6; i++) answers.push(await register({ email: 'flooded@example.org' }));
  t.deepEqual(
    answers.map(({ status }) => status),
    [202, 202, 202, 202, 202, 429],
  );
  const wait = answers[5]!.error!.retry_after_ms!;
  t.true(wait > 3_500_000 && wait <= 3_600_000);
});

test('[A02] verification by phone sends number and text to the provider', async (t) => {
  const by = await env.spawn('api', { AUTH_VERIFICATION: 'phone' });
  const other = new Api(by.apiUrl);
  const { status, data } = await register({ phone: '+1 (555) 010-0300' }, other);
  t.is(status, 202);
  const code = extractCode(await phones.waitForLetter('+15550100300'));
  t.is((await verify(data.user_id, wrongCode(code), other)).error?.code, 'code_invalid');
  t.is((await verify(data.user_id, code, other)).status, 201);
  t.is((await login('+15550100300', other)).status, 200);
  await by.stop();
});

test.serial('[A02] registering is answered unavailable while the mail server refuses', async (t) => {
  mail.broken = true;
  t.is((await register({ email: 'unlucky@example.org' })).error?.code, 'unavailable');
  mail.broken = false;
  t.is((await register({ email: 'unlucky@example.org' })).status, 202);
});

test('[A02] verification without a way to send codes is refused at start', async (t) => {
  const { readConfig } = await import('../../shared/config/index.ts');
  t.throws(() => readConfig({ AUTH_VERIFICATION: 'phone' }), { message: /needs SMS_WEBHOOK_URL/ });
  t.throws(() => readConfig({ AUTH_VERIFICATION: 'email' }), { message: /needs SMTP_URL/ });
});
