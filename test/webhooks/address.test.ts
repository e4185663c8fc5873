import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import test from 'ava';
import fc from 'fast-check';
import { openPoster } from '../../services/webhook/poster.ts';
import { readConfig } from '../../shared/config/index.ts';
import { openEgressGuard, type Resolve } from '../../shared/egress-guard.ts';
import { checkUrl } from '../../shared/webhooks/endpoints.ts';
import { Receiver } from './receiver.ts';

const guard = openEgressGuard({ WEBHOOK_ALLOW_CIDRS: [] }, 'WEBHOOK_ALLOW_CIDRS');
const config = readConfig({ WEBHOOK_TIMEOUT_SEC: '15' });

test('[W06] a non-public address is refused in every notation', (t) => {
  const refused = [
    ...['127.0.0.1', '127.9.9.9', '10.0.0.1', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.169.254'],
    ...['100.64.0.1', '0.0.0.0', '0.1.2.3', '192.0.0.8', '192.0.2.1', '198.18.0.1', '198.51.100.1', '203.0.113.1'],
    ...['224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255', '192.88.99.1'],
    ...['::', '::1', '::127.0.0.1', '::ffff:127.0.0.1', '::ffff:a9fe:a9fe', '::ffff:0:10.0.0.1', '::8.8.8.8%eth0'],
    ...['64:ff9b::7f00:1', '64:ff9b::a9fe:a9fe', '64:ff9b:1::a00:1', '2002:7f00:1::', '2001::1', '2001:db8::1'],
    ...['fe80::1', 'fe80::1%eth0', 'fec0::1', 'fc00::1', 'fd00:ec2::254', 'ff02::1', '100::1', '2001:20::1', '5f00::1'],
    ...['', 'localhost', '8.8.8', '1.2.3.4.5', '0x7f.1', '2130706433'],
  ];
  t.deepEqual(refused.filter(guard), []);
  t.deepEqual(['8.8.8.8', '1.1.1.1', '93.184.216.34', '2606:4700::1111', '::ffff:8.8.8.8'].map(guard), [
    ...Array(5).fill(true),
  ]);
});

test('[W06] a mapped or translated address is judged by the address that it contains', (t) => {
  fc.assert(
    fc.property(fc.ipV4(), (v4) => {
      const hex = v4
        .split('.')
        .map((part) => Number(part).toString(16).padStart(2, '0'))
        .join('');
      const tail = `${hex.slice(0, 4)}:${hex.slice(4)}`;
      t.is(guard(`::ffff:${tail}`), guard(v4));
      // Nobody has to dial through a translator: refused as a whole.
      for (const prefix of ['64:ff9b::', '64:ff9b:1::', '::ffff:0:', '::']) t.false(guard(`${prefix}${tail}`));
      t.false(guard(`2002:${tail}::1`));
    }),
  );
});

test('[W06] exactly the networks that the operator allows are allowed', (t) => {
  const open = openEgressGuard({ WEBHOOK_ALLOW_CIDRS: ['10.1.0.0/16', 'fd00:1::/32'] }, 'WEBHOOK_ALLOW_CIDRS');
  t.deepEqual(['10.1.2.3', '::ffff:10.1.2.3', 'fd00:1::5'].filter(open).length, 3);
  t.deepEqual(['10.2.0.1', 'fd00:2::1', '127.0.0.1'].filter(open), []);
  t.throws(() => openEgressGuard({ WEBHOOK_ALLOW_CIDRS: ['10.1.0.0'] }, 'WEBHOOK_ALLOW_CIDRS'), {
    message: /WEBHOOK_ALLOW_CIDRS/,
  });
});

test('[W06] an endpoint URL is checked for https, length, credentials, unusual literals and private names', async (t) => {
  const checks = {
    config,
    guard,
    resolve: async (name: string) => (name === 'inside.test' ? ['10.0.0.1'] : ['8.8.8.8']),
  };
  const refused = async (url: string, message: RegExp, more: object = {}): Promise<void> => {
    await t.throwsAsync(
      checkUrl(url, { ...checks, config: { ...config, ...more } }),
      { code: 'invalid_request', message },
      url,
    );
  };
  await refused('ftp://example.com/', /https/);
  await refused('nonsense', /must be a URL/);
  await refused('http://example.com/', /https/, { NODE_ENV: 'production' });
  await refused(`https://example.com/${'x'.repeat(2048)}`, /2048/);
  await refused('https://user:pw@example.com/', /password/);
  await refused('https://example.com/#x', /fragment/);
  for (const host of [
    '127.0.0.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '127.1',
    '[::1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::a9fe:a9fe]',
    'inside.test',
    '169.254.169.254',
    '0',
    '１２７.0.0.1',
  ])
    await refused(`https://${host}/`, /not public/);
  t.is(await checkUrl('https://example.com/hook?a=1', checks), 'https://example.com/hook?a=1');
});

test('[W06] the dial itself refuses private literals, private names and names that change their answer', async (t) => {
  const receiver = await Receiver.start();
  const { port } = receiver;
  let asked = 0;
  const answers: Record<string, () => string[]> = {
    'inside.test': () => ['127.0.0.1'],
    'both.test': () => ['93.184.216.34', '127.0.0.1'],
    // The first answer is public, as for a check that comes before the dial.
    'rebinding.test': () => (asked++ === 0 ? ['93.184.216.34'] : ['127.0.0.1']),
  };
  const resolve: Resolve = (name, _, callback) =>
    callback(
      null,
      (answers[name]?.() ?? []).map((address) => ({ address, family: 4 })),
    );
  const poster = openPoster(config, guard, resolve);
  answers['rebinding.test']!();
  const literals = [
    ...['127.0.0.1', '[::1]', '[::ffff:127.0.0.1]', '0x7f.1', '2130706433', '0177.0.0.1', '0', '0.0.0.0', '[::]'],
    ...['[::127.0.0.1]', '[64:ff9b::7f00:1]', '169.254.169.254', '100.64.0.1', '[fe80::1]', '[fd00:ec2::254]'],
  ];
  for (const host of ['localhost', ...literals, ...Object.keys(answers)]) {
    const outcome = await poster.post(`http://${host}:${port}/hook`, {}, '{}', Date.now());
    t.deepEqual(outcome, { delivered: false, error: 'address_refused' }, host);
  }
  const zone = await poster.post(`http://[::1%25lo]:${port}/hook`, {}, '{}', Date.now());
  t.false(zone.delivered, 'a zone is no part of a URL');
  t.is(receiver.connectionCount, 0, 'nobody was even dialled');
  await poster.close();
  await receiver.close();
});

test('[W06] redirects are not followed, even to allowed addresses', async (t) => {
  const inside = await Receiver.start();
  const receiver = await Receiver.start((_, response) => void response.writeHead(307, { location: inside.url }).end());
  const poster = openPoster(config, openEgressGuard({ WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8'] }, 'WEBHOOK_ALLOW_CIDRS'));
  const outcome = await poster.post(receiver.url, {}, '{}', Date.now());
  t.like(outcome, { delivered: false, status: 307, error: 'redirect' });
  t.is(inside.connectionCount, 0);
  await poster.close();
  await Promise.all([receiver.close(), inside.close()]);
});

test('[W04] an endpoint that hangs, drips, floods or speaks no HTTP ends in time and with little memory', async (t) => {
  const loopback = openEgressGuard({ WEBHOOK_ALLOW_CIDRS: ['127.0.0.0/8'] }, 'WEBHOOK_ALLOW_CIDRS');
  const [poster, hasty] = [openPoster(config, loopback), openPoster({ ...config, WEBHOOK_TIMEOUT_SEC: 1 }, loopback)];
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const drip = await Receiver.start((_, response) => {
    const timer = setInterval(() => response.write('.'), 50);
    response.on('close', () => clearInterval(timer));
  });
  let sent = 0;
  const flood = await Receiver.start((_, response) => {
    const more = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(65_536, 97))) sent += 65_536;
    };
    response.on('drain', more);
    more();
  });
  const garbage = createServer((socket) => void socket.end('SSH-2.0-x\r\n'));
  await new Promise<void>((resolve) => garbage.listen(0, '127.0.0.1', resolve));
  const url = (server: ReturnType<typeof createServer>): string =>
    `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const [hangs, drips] = await Promise.all([url(silent), drip.url].map((one) => hasty.post(one, {}, '{}', Date.now())));
  const [floods, rubbish, refused] = await Promise.all(
    [flood.url, url(garbage), 'http://127.0.0.1:1/'].map((one) => poster.post(one, {}, '{}', Date.now())),
  );
  t.deepEqual(hangs, { delivered: false, error: 'timeout' });
  t.deepEqual(drips, { delivered: false, error: 'timeout' });
  t.like(floods, { delivered: true, status: 200 });
  t.is(floods!.response!.length, 1024);
  t.true(sent < 32 << 20);
  t.false(rubbish!.delivered);
  t.is(refused!.error, 'ECONNREFUSED');
  await Promise.all([poster.close(), hasty.close()]);
  await Promise.all([drip.close(), flood.close()]);
  silent.close();
  garbage.close();
});
