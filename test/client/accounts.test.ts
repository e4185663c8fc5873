/** Ways in and sessions by the client library, on the whole system with a real mail server. */
import test from 'ava';
import {
  changePassword,
  Device,
  deleteAccount,
  endOtherSessions,
  endSession,
  listSessions,
  login,
  loginByCode,
  logout,
  logoutEverywhere,
  register,
  requestCode,
  SealwireError,
  verify,
} from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import { extractCode, type Mailbox, startMailServer } from '../api/mailbox.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { PASSWORD, registerPerson } from '../env/people.ts';

let env: Env;
let at: Addresses;
let mail: Mailbox;
test.before(async () => {
  mail = await startMailServer();
  env = await startEnv({ SMTP_URL: mail.url, ARGON2_MEMORY_KIB: 64, ARGON2_PASSES: 1 });
  at = await env.start('api', 'ingest', 'fanout', 'history', 'edge');
});
test.after.always(async () => {
  await env?.stop();
  await mail.close();
});

const password = PASSWORD;
const device = { name: 'phone' };

test('[A02] [O08] register asks for the code that was sent by mail', async (t) => {
  const by = await env.spawn('api', { AUTH_VERIFICATION: 'email' });
  const api = by.apiUrl;
  const email = 'asked@example.org';
  const code = async () => extractCode(await mail.waitForLetter(email));
  const session = await register({ api, email, password, device, code });
  t.is((await listSessions(session)).length, 1);

  const later = { api, email: 'later@example.org', password, device };
  const error = await t.throwsAsync<SealwireError>(register(later), { instanceOf: SealwireError });
  t.is(error?.code, 'verification_needed');
  const { user_id } = error!.details as { user_id: string };
  const wrong = verify({ api, user_id, code: 'abc' });
  t.is((await t.throwsAsync<SealwireError>(wrong))?.code, 'invalid_request');
  const done = await verify({ api, user_id, code: extractCode(await mail.waitForLetter('later@example.org')) });
  t.is(done.user.id, user_id);
  await by.stop();
});

test('[A04] [O08] loginByCode logs in with a requested code', async (t) => {
  const email = 'by.code@example.org';
  t.is(await requestCode(at.apiUrl, { email }), 300_000);
  const session = await loginByCode({
    api: at.apiUrl,
    email,
    code: extractCode(await mail.waitForLetter(email)),
    device,
    name: 'Cleo',
  });
  t.is(session.user.name, 'Cleo');
  await changePassword(session, password);
  t.is((await login({ api: at.apiUrl, identifier: email, password, device })).user.id, session.user.id);
});

test('[A06] [A07] [O08] a device whose session ends elsewhere is signed out and does not reconnect', async (t) => {
  const anna = await registerPerson(at);
  const tablet = await login({ api: at.apiUrl, identifier: anna.user.username!, password, device: { name: 'tablet' } });
  const connected = new Device({ session: tablet, edge: at.edgeUrl, transport: wsTransport() });
  await connected.connect();
  const [newest, oldest] = await listSessions(anna);
  t.deepEqual([newest?.device.name, oldest?.device.name, oldest?.current], ['tablet', 'first', true]);
  const signedOut = connected.next('error');
  await endSession(anna, newest!.id);
  t.is((await signedOut).code, 'signed_out');
  await connected.close();

  await login({ api: at.apiUrl, identifier: anna.user.username!, password, device: { name: 'laptop' } });
  t.is(await endOtherSessions(anna), 1);
  await logout(anna);
  t.is((await t.throwsAsync<SealwireError>(anna.call('GET', '/v1/users/me')))?.code, 'signed_out');
});

test('[A11] [O08] the library changes the password, logs out everywhere and deletes the account', async (t) => {
  const session = await registerPerson(at);
  const username = session.user.username!;
  await changePassword(session, 'battery staple', password);
  const other = await login({ api: at.apiUrl, identifier: username, password: 'battery staple', device });
  await logoutEverywhere(session);
  t.is((await t.throwsAsync<SealwireError>(other.call('GET', '/v1/users/me')))?.code, 'signed_out');
  const last = await login({ api: at.apiUrl, identifier: username, password: 'battery staple', device });
  t.is((await t.throwsAsync<SealwireError>(deleteAccount(last, 'wrong')))?.code, 'forbidden');
  await deleteAccount(last, 'battery staple');
  const back = login({ api: at.apiUrl, identifier: username, password: 'battery staple', device });
  t.is((await t.throwsAsync<SealwireError>(back))?.code, 'unauthenticated');
});
