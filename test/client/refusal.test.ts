/** A page whose origin is refused hears of it, though its browser tells it nothing. */
import test from 'ava';
import { findRefusal } from '../../client/refusal.ts';
import type { Transport } from '../../client/transports/types.ts';
import { wsTransport } from '../../client/transports/ws.ts';
import { createDevice, startFakeServer } from './fake-server.ts';

/** As in a browser: no headers, and no word of why a socket did not open. */
function browserTransport(): Transport {
  const { open } = wsTransport();
  return {
    headers: false,
    open: (url, protocols, _headers, events) =>
      open(url, protocols, {}, { ...events, close: (code, reason) => events.close(code, reason) }),
  };
}
const refused = { code: 'forbidden', message: 'add the origin to ALLOWED_ORIGINS' };

for (const transport of [browserTransport(), wsTransport()])
  test(`[R01] a refused origin ends the attempts with an error, ${transport.headers ? 'where the status is visible' : 'also in a browser'}`, async (t) => {
    const server = await startFakeServer();
    server.refuseWith = 403;
    server.answerHttp = (_, path) =>
      path === '/v1/ws' ? { status: 403, error: refused } : { status: 201, data: { ticket: 'T' } };
    const device = createDevice(server, { transport });
    const told = device.next('error');
    await t.throwsAsync(device.connect(), refused);
    t.like(await told, refused);
    await device.close();
    await server.close();
  });

test('[R01] attempts continue while only the server is down', async (t) => {
  const server = await startFakeServer();
  server.refuseWith = 503;
  let asked = 0;
  server.answerHttp = (_, path) => {
    if (path !== '/v1/ws') return { status: 201, data: { ticket: 'T' } };
    if (++asked === 2) server.refuseWith = undefined;
    return { status: 400, error: { code: 'invalid_request', message: 'upgrade to a WebSocket' } };
  };
  const device = createDevice(server, { transport: browserTransport() });
  await device.connect();
  t.is(asked, 2);
  await device.close();
  await server.close();
});

test('[R01] findRefusal recognises a refused origin by a request that is sent but cannot be read', async (t) => {
  const ask = (modes: { cors: boolean; noCors: boolean }, origin?: string) =>
    findRefusal({
      edge: 'wss://edge.example/v1/ws',
      api: 'https://api.example/',
      origin,
      async fetch(url, init) {
        const arrives = init?.mode === 'no-cors' ? modes.noCors : modes.cors;
        if (!arrives || url.startsWith('https://edge')) throw new TypeError('Failed to fetch');
        return { json: async () => ({}) };
      },
    });
  const found = await ask({ cors: false, noCors: true }, 'https://page.example');
  t.is(found?.code, 'forbidden');
  t.regex(found!.message, /https:\/\/page\.example.*ALLOWED_ORIGINS/);
  t.is(await ask({ cors: false, noCors: false }, 'https://page.example'), undefined, 'the server is away');
  t.is(await ask({ cors: true, noCors: true }, 'https://page.example'), undefined, 'the page is let in');
  t.is(await ask({ cors: false, noCors: true }), undefined, 'outside a browser there is no origin');
});
