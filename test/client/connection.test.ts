import { once } from 'node:events';
import test from 'ava';
import { until } from '../env/until.ts';
import { createDevice, startFakeServer } from './fake-server.ts';

test('the client authorises by header, and by ticket after its upgrade was refused', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  let tickets = 0;
  server.answerHttp = (_, path) => {
    if (path === '/v1/ws/tickets') return { status: 201, data: { ticket: `T${++tickets}` } };
    return undefined;
  };
  await device.connect();
  t.is(server.peers[0]!.request.headers.authorization, 'Bearer t1');

  server.refuseWith = 401;
  server.peers[0]!.socket.terminate();
  await until(() => tickets > 0);
  server.refuseWith = undefined;
  await device.next('open');
  t.is(server.peers[1]!.request.headers.authorization, undefined);
  t.regex(server.peers[1]!.request.headers['sec-websocket-protocol']!, /^sealwire\.v1\.json, ?ticket\.T\d$/);
  await device.close();
  await server.close();
});

test('the client answers 4401 before the welcome like a 401: with a ticket, keeping its token', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const asked: string[] = [];
  server.answerHttp = (_, path) => {
    asked.push(path);
    return { status: 201, data: { ticket: `T${asked.length}` } };
  };
  server.refuseWith = 4401;
  void device.connect();
  await until(() => asked.length > 0);
  server.refuseWith = undefined;
  await until(() => device.connected);
  t.regex(server.peers.at(-1)!.request.headers['sec-websocket-protocol']!, /ticket\.T\d$/);
  t.deepEqual([...new Set(asked)], ['/v1/ws/tickets']);
  t.is(device.session.access_token, 't1');
  await device.close();
  await server.close();
});

test('the client answers 4401 after the welcome by refreshing the token once and reconnecting', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  const used: unknown[] = [];
  server.answerHttp = (_, path, body) => {
    if (path !== '/v1/auth/refresh') return { status: 201, data: { ticket: 'T' } };
    used.push(body.refresh_token);
    return { data: { access_token: 't2', refresh_token: 'r2', expires_in_sec: 900 } };
  };
  await device.connect();
  server.peers[0]!.socket.close(4401);
  await device.next('open');
  t.deepEqual(used, ['r1']);
  t.is(device.session.access_token, 't2');
  await device.close();
  await server.close();
});

test('a revoked session ends the connection and rejects waiting sends', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  server.answerHttp = () => ({ status: 401, error: { code: 'unauthenticated', message: 'revoked' } });
  await device.connect();
  const waiting = t.throwsAsync(device.send({ conversation_id: 'c', payload: 'p' }), { code: 'signed_out' });
  const told = device.next('error');
  server.peers[0]!.socket.close(4401);
  t.is((await told).code, 'signed_out');
  await waiting;
  t.false(device.connected);
  await server.close();
});

test('a replaced device does not reconnect', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  await device.connect();
  const replaced = device.next('replaced');
  server.peers[0]!.socket.close(4409);
  t.is((await replaced).code, 'replaced');
  await t.throwsAsync(device.send({ conversation_id: 'c', payload: 'p' }), { code: 'replaced' });
  t.is(server.peers.length, 1);
  await server.close();
});

test('the client leaves a draining edge and reconnects', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server);
  await device.connect();
  const down = device.next('close');
  server.peers[0]!.send({ type: 'connection.draining', reconnect_in_ms: 30 });
  t.like(await down, { reason: 'draining', retry_in_ms: 0 });
  await device.next('open');
  t.is(server.peers.length, 2);
  await device.close();
  await server.close();
});

test('the client pings a silent socket, then gives it up', async (t) => {
  const server = await startFakeServer();
  const device = createDevice(server, { settings: { silence_ms: 150 } });
  await device.connect();
  const down = device.next('close');
  t.is((await down).reason, 'silence');
  t.deepEqual(server.peers[0]!.commands, [{ type: 'ping' }]);
  server.answerCommand = (peer) => peer.send({ type: 'pong' });
  await device.next('open');
  // Who is answered is asked again over the same socket.
  await until(() => (server.peers.at(-1)?.commands.length ?? 0) >= 3);
  t.true(server.peers.length >= 2);
  await device.close();
  await server.close();
});

test('the client retries an unreachable server until it answers', async (t) => {
  const server = await startFakeServer();
  const port = new URL(server.api).port;
  await server.close();
  const device = createDevice(server);
  let downs = 0;
  device.on('close', () => downs++);
  const connected = device.connect();
  await until(() => downs >= 3);
  const { createServer } = await import('node:http');
  const { WebSocketServer } = await import('ws');
  const http = createServer().listen(Number(port), '127.0.0.1');
  await once(http, 'listening');
  const sockets = new WebSocketServer({ server: http });
  sockets.on('connection', (ws) => ws.send(JSON.stringify(server.welcome)));
  await connected;
  t.true(device.connected);
  await device.close();
  sockets.close();
  http.close();
});
