/**
 * The ceiling of direct-throughput, latency-under-load and idle: one bare uWebSockets.js process with no broker, no
 * database, no checks and no storage. It sends every frame that Sealwire sends (ack, message.created, status sent and
 * delivered), built and written in the cheapest known way: joined text, one cork per socket and event-loop turn, as the
 * edge does it.
 */
import * as uws from 'uWebSockets.js';
import { SUBPROTOCOL } from '../../shared/contract/protocol.ts';
import { directConversationId, uuid7 } from '../../shared/ids.ts';

interface SocketData {
  user: string;
  device: string;
  cursor: number;
  /** Frames to be written in this turn of the event loop. */
  output: string[];
  /** The newest message of each sender that the next ack reports as delivered, as JSON fields. */
  unreported: Map<string, string>;
  isOpen: boolean;
}
type Socket = Parameters<NonNullable<Parameters<ReturnType<typeof uws.App>['ws']>[1]['open']>>[0];
interface Peer {
  ws: Socket;
  data: SocketData;
}
interface Conversation {
  id: string;
  pair: [string, string];
  seq: number;
}
interface Command {
  type: string;
  id?: string;
  to?: { user_id: string };
  conversation_id?: string;
  client_message_id?: string;
  payload?: string;
}

const peers = new Map<string, Peer>();
const conversations = new Map<string, Conversation>();
let peersToFlush: Peer[] = [];

function flush(): void {
  const peers = peersToFlush;
  peersToFlush = [];
  for (const { ws, data } of peers) {
    const { output } = data;
    data.output = [];
    if (data.isOpen) ws.cork(() => output.forEach((frame) => void ws.send(frame, false)));
  }
}

function send(peer: Peer, frame: string): void {
  if (peer.data.output.push(frame) > 1) return;
  if (peersToFlush.push(peer) === 1) setImmediate(flush);
}

function conversationOf({ to, conversation_id }: Command, user: string): Conversation {
  const id = conversation_id ?? directConversationId(user, to!.user_id);
  let conversation = conversations.get(id);
  if (!conversation) {
    conversation = { id, pair: [user, to!.user_id], seq: 0 };
    conversations.set(id, conversation);
  }
  return conversation;
}

/** The time as text, made once for each turn of the event loop. */
let sentAt = '';
/** Answers `message.send` and delivers the message. */
function relayMessage(peer: Peer, command: Command): void {
  const { user, device } = peer.data;
  const conversation = conversationOf(command, user);
  const seq = ++conversation.seq;
  const id = uuid7();
  const { client_message_id } = command;
  const fields = `"message_id":"${id}","conversation_id":"${conversation.id}","seq":${seq}`;
  send(peer, `{"type":"ack","id":"${command.id}",${fields},"status":"queued"}`);
  const other = peers.get(conversation.pair[0] === user ? conversation.pair[1] : conversation.pair[0]);
  if (other) {
    if (!sentAt) {
      sentAt = new Date().toISOString();
      setImmediate(() => {
        sentAt = '';
      });
    }
    send(
      other,
      `{"type":"message.created","cursor":${++other.data.cursor},"message":{"id":"${id}","conversation_id":"${conversation.id}","seq":${seq},"sender_id":"${user}","sender_device_id":"${device}","client_message_id":"${client_message_id}","sent_at":"${sentAt}","payload":${JSON.stringify(command.payload)}}}`,
    );
    other.data.unreported.set(user, `"conversation_id":"${conversation.id}","seq":${seq},"message_id":"${id}"`);
  }
  send(peer, `{"type":"message.status","status":"sent","client_message_id":"${client_message_id}",${fields}}`);
}

/** Tells the senders that their messages were delivered, after an `inbox.ack`. */
function reportDelivered({ data }: Peer): void {
  for (const [sender, fields] of data.unreported) {
    const peer = peers.get(sender);
    if (!peer) continue;
    const by = `"user_id":"${data.user}","device_id":"${data.device}"`;
    send(peer, `{"type":"message.status","status":"delivered",${fields},${by}}`);
  }
  data.unreported.clear();
}

function createWelcome({ user, device }: SocketData): string {
  return JSON.stringify({
    type: 'connection.welcome',
    connection_id: uuid7(),
    user_id: user,
    device_id: device,
    server_version: 'relay',
    server_time: new Date().toISOString(),
    heartbeat_sec: 30,
    idle_timeout_sec: 120,
    cursor: 0,
    backlog: 0,
    epoch: 'relay',
    durability: 'none',
    limits: {},
  });
}

const app = uws.App();
app.ws<SocketData>('/*', {
  compression: 0,
  maxPayloadLength: 1 << 20,
  idleTimeout: 960,
  maxBackpressure: 1 << 30,
  upgrade(res, req, context) {
    const [user = '', device = ''] = req.getHeader('authorization').slice('Bearer '.length).split(':');
    const data: SocketData = { user, device, cursor: 0, output: [], unreported: new Map(), isOpen: true };
    const key = req.getHeader('sec-websocket-key');
    res.upgrade(data, key, SUBPROTOCOL, req.getHeader('sec-websocket-extensions'), context);
  },
  open(ws) {
    const data = ws.getUserData();
    const peer = { ws: ws as unknown as Socket, data };
    peers.set(data.user, peer);
    send(peer, createWelcome(data));
    send(peer, '{"type":"inbox.empty","cursor":0}');
  },
  message(ws, message) {
    const command = JSON.parse(Buffer.from(message).toString()) as Command;
    const peer = peers.get(ws.getUserData().user)!;
    if (command.type === 'message.send') relayMessage(peer, command);
    else if (command.type === 'inbox.ack') reportDelivered(peer);
    else send(peer, '{"type":"pong"}');
  },
  close(ws) {
    const data = ws.getUserData();
    data.isOpen = false;
    peers.delete(data.user);
  },
});
app.listen('127.0.0.1', 0, (socket) => {
  if (!socket) throw new Error('the relay cannot listen');
  process.send?.({ port: uws.us_socket_local_port(socket as never) });
});
process.on('disconnect', () => process.exit(0));
