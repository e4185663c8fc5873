/** An edge and API that do what a test tells them, for what a real one does too seldom. Everything else is tested on the real system. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { Device, type DeviceOptions, Session } from '../../client/index.ts';
import { wsTransport } from '../../client/transports/ws.ts';

type Json = Record<string, unknown>;

export interface Peer {
  socket: WebSocket;
  request: IncomingMessage;
  /** Commands in order of arrival. */
  commands: Json[];
  send(...frames: Json[]): void;
}

export interface FakeServer {
  api: string;
  edge: string;
  peers: Peer[];
  /** Answers HTTP; `undefined` is 404. */
  answerHttp: (
    method: string,
    path: string,
    body: Json,
  ) => { status?: number; data?: unknown; error?: unknown } | undefined;
  /** Answers one command over the socket. */
  answerCommand: (peer: Peer, command: Json) => void;
  welcome: Json;
  /** HTTP status that refuses upgrades, or the code that closes a socket instead of its welcome, while set. */
  refuseWith: number | undefined;
  close(): Promise<void>;
}

export const CONVERSATION = '01936f2a-7c1e-7b3a-9f00-0123456789ab';
export const ME = '01936f2a-7c1e-7b3a-9f00-000000000001';
export const MY_DEVICE = '01936f2a-7c1e-7b3a-9f00-000000000002';

export async function startFakeServer(): Promise<FakeServer> {
  const http = createServer((request, response) => void answer(server, request, response));
  const sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'sealwire.v1.json' });
  http.on('upgrade', (request, socket, head) => {
    const { refuseWith } = server;
    if (refuseWith !== undefined && refuseWith < 1_000) {
      socket.end(`HTTP/1.1 ${refuseWith} no\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
      return;
    }
    sockets.handleUpgrade(request, socket, head, (ws) => {
      const peer: Peer = {
        socket: ws,
        request,
        commands: [],
        send: (...frames) => frames.forEach((f) => void ws.send(JSON.stringify(f))),
      };
      server.peers.push(peer);
      ws.on('message', (data) => {
        const command = JSON.parse(String(data)) as Json;
        peer.commands.push(command);
        server.answerCommand(peer, command);
      });
      if (refuseWith === undefined) peer.send(server.welcome);
      else ws.close(refuseWith);
    });
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const { port } = http.address() as AddressInfo;
  const server: FakeServer = {
    api: `http://127.0.0.1:${port}`,
    edge: `ws://127.0.0.1:${port}`,
    peers: [],
    answerHttp: () => undefined,
    answerCommand: () => {},
    welcome: { type: 'connection.welcome', heartbeat_sec: 30, cursor: 0, epoch: 'a', limits: {} },
    refuseWith: undefined,
    async close() {
      for (const { socket } of server.peers) socket.terminate();
      sockets.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
  return server;
}

async function answer(server: FakeServer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = '';
  for await (const chunk of request) text += chunk;
  const { status = 200, ...body } = server.answerHttp(request.method!, request.url!, text ? JSON.parse(text) : {}) ?? {
    status: 404,
    error: { code: 'not_found', message: 'no such route' },
  };
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

/** Numbers sends of the conversation from 1 and remembers them, as ingest does. */
export function numberSends(): (peer: Peer, command: Json) => void {
  const seqs = new Map<string, number>();
  return (peer, { type, id, client_message_id }) => {
    if (type !== 'message.send') return;
    const seq = seqs.get(String(client_message_id)) ?? seqs.size + 1;
    seqs.set(String(client_message_id), seq);
    peer.send({ type: 'ack', id, message_id: `m${seq}`, conversation_id: CONVERSATION, seq, status: 'queued' });
  };
}

export const messageFrame = (seq: number, cursor: number, more: Json = {}): Json => ({
  type: 'message.created',
  cursor,
  message: {
    id: `m${seq}`,
    conversation_id: CONVERSATION,
    seq,
    sender_id: 'peer',
    sender_device_id: 'peer-device',
    payload: `p${seq}`,
    ...more,
  },
});

export function createDevice(server: FakeServer, options: Partial<DeviceOptions> = {}): Device {
  const session = new Session({
    api: server.api,
    user: { id: ME },
    device: { id: MY_DEVICE },
    access_token: 't1',
    refresh_token: 'r1',
  });
  return new Device({
    session,
    edge: server.edge,
    transport: wsTransport(),
    ...options,
    settings: { backoff_base_ms: 20, backoff_cap_ms: 50, ...options.settings },
  });
}
