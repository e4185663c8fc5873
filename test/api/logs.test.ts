/** What the logs of all services must not hold, at the most talkative level, whatever goes right or wrong. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import { type Env, type Spawned, startEnv } from '../env/index.ts';
import { TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';
import { Api, QUICK_HASHING } from './http.ts';
import { extractCode, type Mailbox, startMailServer, wrongCode } from './mailbox.ts';

const logDir = mkdtempSync(join(tmpdir(), 'sealwire-logs-'));
let env: Env;
let at: Spawned;
let api: Api;
let mail: Mailbox;
test.before(async () => {
  mail = await startMailServer();
  env = await startEnv({ ...QUICK_HASHING, SMTP_URL: mail.url, LOG_LEVEL: 'trace' }, { logDir });
  at = await env.spawn(['ingest', 'fanout', 'history', 'api', 'edge']);
  api = new Api(at.apiUrl);
});
test.after.always(async () => {
  await env.stop();
  await mail.close();
  rmSync(logDir, { recursive: true, force: true });
});
const logs = (): string =>
  readdirSync(logDir)
    .map((name) => readFileSync(join(logDir, name), 'utf8'))
    .join('\n');

test('[A09] [A10] no code, token, password, address, name or payload is ever logged', async (t) => {
  const [email, phone, password, payload] = ['quiet@example.org', '+15550177123', 'hush hush hush', 'd2hpc3Blcg=='];
  const device = { name: 'Quiet phone' };
  await api.ask('auth.otp.request', { body: { email } });
  const code = extractCode(await mail.waitForLetter(email));
  await api.ask('auth.otp.verify', { body: { email, code: wrongCode(code), device } });
  const { data: me } = await api.ask('auth.otp.verify', { body: { email, code, device, name: 'Quiet Person' } });
  const token = me.access_token;
  const friend = await api.register({
    username: 'whisperer',
    phone,
    password,
    name: 'Whispering Friend',
    bio: 'silent',
  });
  await api.ask('auth.login', { body: { identifier: phone, password: 'guess guess', device } });
  await api.ask('auth.changePassword', {
    token: friend.access_token,
    body: { old_password: password, new_password: payload },
  });
  const { data: pair } = await api.ask('auth.refresh', { body: { refresh_token: me.refresh_token } });
  await api.ask('keys.publish', { token, body: { identity_key: 'aWRlbnRpdHk' } });
  await api.ask('keys.backup.put', { token, body: { data: payload } });
  const { data: direct } = await api.ask('conversations.createDirect', { token, body: { phone } });
  await api.ask('messages.send', { token, id: direct.id, body: { client_message_id: 'quiet', payload } });
  const { ticket } = (await api.ask('auth.tickets.create', { token })).data;
  const socket = new TestSocket(`${at.edgeUrl}/v1/ws?ticket=${ticket}`, {});
  await socket.waitFor('connection.welcome');
  socket.socket.send(JSON.stringify({ type: 'message.send', id: payload, conversation_id: email, payload }));
  await socket.waitFor('error');
  socket.socket.close();

  // Failures whose messages quote what failed: a row that a constraint refuses, and one that the eraser cannot change.
  await env.db.query(`alter table users add constraint nobody_is_erased check (erased_at is null)`);
  await env.db.query(`alter table key_backups add constraint nothing_new check (version < 2)`);
  t.is((await api.ask('keys.backup.put', { token, body: { data: payload } })).error?.code, 'internal');
  await env.db.query(`update users set deleted_at = now() - interval '1 hour' where id = $1`, [friend.user.id]);
  await env.db.query('update key_log set told_at = now()');
  await at.restart();
  await until(() => logs().includes('nobody_is_erased') && logs().includes('nothing_new'));

  const text = logs();
  t.true(text.includes('/v1/auth/otp/verify'), 'these are the logs');
  const secrets = [email, phone, password, 'guess guess', payload, ticket, 'whisperer', 'silent', 'aWRlbnRpdHk'];
  secrets.push('Quiet Person', 'Quiet phone', 'Whispering Friend', me.user.number, friend.user.number);
  secrets.push(`"${code}"`, token, me.refresh_token, pair.access_token, pair.refresh_token, friend.refresh_token);
  for (const secret of secrets) t.false(text.includes(secret), secret);
});
