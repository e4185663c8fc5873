/** Behind proxies: every client counts as itself, at the edge and at the API, and none can choose its address. */
import test from 'ava';
import fc from 'fast-check';
import { createClientAddressFinder } from '../../shared/proxies.ts';
import { Api, QUICK_HASHING } from '../api/http.ts';
import { type Addresses, type Env, startEnv } from '../env/index.ts';
import { registerPerson, TestSocket } from '../env/people.ts';
import { until } from '../env/until.ts';

let env: Env;
let at: Addresses;
test.before(async () => {
  env = await startEnv({
    ...QUICK_HASHING,
    TRUSTED_PROXIES: ['127.0.0.0/8', '10.0.0.7'],
    WS_MAX_CONNECTIONS_PER_IP: 1,
  });
  at = await env.start('ingest', 'fanout', 'api', 'edge');
});
test.after.always(() => env?.stop());

const client = createClientAddressFinder({ TRUSTED_PROXIES: ['10.0.0.0/8', '192.168.1.1', 'fd00::/8'] });

test('[R03] the client is the right-most address that is not a trusted proxy', (t) => {
  const cases: [peer: string, forwarded: string, client: string][] = [
    ['203.0.113.9', '', '203.0.113.9'],
    ['203.0.113.9', '198.51.100.1', '203.0.113.9'],
    ['10.1.2.3', '198.51.100.1', '198.51.100.1'],
    ['10.1.2.3', '8.8.8.8, 198.51.100.1', '198.51.100.1'],
    ['10.1.2.3', '8.8.8.8, 198.51.100.1,10.9.9.9 , 192.168.1.1', '198.51.100.1'],
    ['10.1.2.3', '10.4.4.4', '10.4.4.4'],
    ['10.1.2.3', '', '10.1.2.3'],
    ['10.1.2.3', '198.51.100.1, unknown', '10.1.2.3'],
    ['10.1.2.3', '198.51.100.1, unknown, 10.4.4.4', '10.4.4.4'],
    ['::ffff:10.1.2.3', '[2001:db8::1]:4711', '2001:db8::1'],
    ['fd00::1', '198.51.100.1:80', '198.51.100.1'],
    ['0000:0000:0000:0000:0000:ffff:0a01:0203', '2001:DB8:0::1', '2001:db8::1'],
    ['192.168.1.2', '198.51.100.1', '192.168.1.2'],
  ];
  for (const [peer, forwarded, expected] of cases) t.is(client(peer, forwarded), expected, `${peer} ${forwarded}`);
  const legacy = createClientAddressFinder({ TRUSTED_PROXIES: [] }, true);
  t.is(legacy('203.0.113.9', '8.8.8.8, 198.51.100.1'), '198.51.100.1');
  t.throws(() => createClientAddressFinder({ TRUSTED_PROXIES: ['balancer'] }), { message: /TRUSTED_PROXIES/ });
});

test('[R03] the address added by the proxy counts, whatever the client writes', (t) => {
  fc.assert(
    fc.property(fc.string(), fc.ipV4(), (written, real) => {
      fc.pre(!real.startsWith('10.') && real !== '192.168.1.1');
      t.is(client('10.1.2.3', `${written}, ${real}`), real);
    }),
  );
});

async function enter(forwarded: string | string[]): Promise<TestSocket> {
  const { access_token } = await registerPerson(at);
  const headers = { authorization: `Bearer ${access_token}`, 'x-forwarded-for': forwarded } as Record<string, string>;
  const raw = new TestSocket(`${at.edgeUrl}/v1/ws`, headers);
  await until(() => raw.frames.length > 0 || raw.closeCode !== undefined);
  return raw;
}

test('[R03] the edge counts each client behind a proxy separately', async (t) => {
  const open = [
    await enter('198.51.100.1'),
    await enter('198.51.100.2'),
    await enter('8.8.8.8, 198.51.100.3, 10.0.0.7'),
  ];
  t.true(open.every(({ closeCode }) => closeCode === undefined));
  t.is((await enter('198.51.100.1')).closeCode, 1006, 'a second one of the same address');
  t.is((await enter('1.2.3.4, 198.51.100.2')).closeCode, 1006, 'a client that wrote another one before');
  t.is((await enter(['1.2.3.4', '198.51.100.3'])).closeCode, 1006, 'in a header line of its own');
  for (const { socket } of open) socket.terminate();
});

test('[A10] the API trusts the same proxies', async (t) => {
  const api = new Api(at.apiUrl);
  const { user } = await api.register();
  const login = (forwarded: string, password: string) =>
    api.ask('auth.login', {
      body: { identifier: user.number, password, device: { name: 'phone' } },
      headers: { 'x-forwarded-for': forwarded },
    });
  for (let i = 0; i < 10; i++) await login(`8.8.8.${i}, 198.51.100.1, 10.0.0.7`, 'wrong horse');
  t.is((await login('198.51.100.1', 'correct horse')).error?.code, 'rate_limited');
  t.is((await login('198.51.100.2', 'correct horse')).status, 200);
});
