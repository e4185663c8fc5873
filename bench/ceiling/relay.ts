/**
 * The ceiling of W1, W2 and of idle sockets: one bare uWebSockets.js process with no broker, no database, no checks and
 * nothing kept. It says every frame that Sealwire says (ack, message.created, status sent and delivered), made and
 * written in the cheapest way known here: joined text, one cork a socket and event-loop turn, as the edge does it.
 */
import * as uws from 'uWebSockets.js';
import { directConversationId, uuid7 } from '../../shared/ids.ts';

interface Held {
  user: string;
  device: string;
  cursor: number;
  out: string[];
  /** Newest item of each sender that an ack would report. */
  unreported: Map<string, string>;
  live: boolean;
}
type Socket = Parameters<NonNullable<Parameters<ReturnType<typeof uws.App>['ws']>[1]['open']>>[0];
interface Peer {
  ws: Socket;
  held: Held;
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
let unsaid: Peer[] = [];

function flush(): void {
  const round = unsaid;
  unsaid = [];
  for (const { ws, held } of round) {
    const { out } = held;
    held.out = [];
    if (held.live) ws.cork(() => out.forEach((frame) => void ws.send(frame, false)));
  }
}

function say(peer: Peer, frame: string): void {
  if (peer.held.out.push(frame) > 1) return;
  if (unsaid.push(peer) === 1) setImmediate(flush);
}

function conversationOf({ to, conversation_id }: Command, user: string): Conversation {
  const id = conversation_id ?? directConversationId(user, to!.user_id);
  let found = conversations.get(id);
  if (!found) {
    found = { id, pair: [user, to!.user_id], seq: 0 };
    conversations.set(id, found);
  }
  return found;
}

let sentAt = '';
function relay(peer: Peer, command: Command): void {
  const { user, device } = peer.held;
  const conversation = conversationOf(command, user);
  const seq = ++conversation.seq;
  const id = uuid7();
  const { client_message_id } = command;
  const about = `"message_id":"${id}","conversation_id":"${conversation.id}","seq":${seq}`;
  say(peer, `{"type":"ack","id":"${command.id}",${about},"status":"queued"}`);
  const other = peers.get(conversation.pair[0] === user ? conversation.pair[1] : conversation.pair[0]);
  if (other) {
    if (!sentAt) {
      sentAt = new Date().toISOString();
      setImmediate(() => {
        sentAt = '';
      });
    }
    say(
      other,
      `{"type":"message.created","cursor":${++other.held.cursor},"message":{"id":"${id}","conversation_id":"${conversation.id}","seq":${seq},"sender_id":"${user}","sender_device_id":"${device}","client_message_id":"${client_message_id}","sent_at":"${sentAt}","payload":${JSON.stringify(command.payload)}}}`,
    );
    other.held.unreported.set(user, `"conversation_id":"${conversation.id}","seq":${seq},"message_id":"${id}"`);
  }
  say(peer, `{"type":"message.status","status":"sent","client_message_id":"${client_message_id}",${about}}`);
}

function report({ held }: Peer): void {
  for (const [sender, about] of held.unreported) {
    const peer = peers.get(sender);
    if (!peer) continue;
    const by = `"user_id":"${held.user}","device_id":"${held.device}"`;
    say(peer, `{"type":"message.status","status":"delivered",${about},${by}}`);
  }
  held.unreported.clear();
}

function welcome({ user, device }: Held): string {
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
app.ws<Held>('/*', {
  compression: 0,
  maxPayloadLength: 1 << 20,
  idleTimeout: 960,
  maxBackpressure: 1 << 30,
  upgrade(res, req, context) {
    const [user = '', device = ''] = req.getHeader('authorization').slice('Bearer '.length).split(':');
    const held: Held = { user, device, cursor: 0, out: [], unreported: new Map(), live: true };
    const key = req.getHeader('sec-websocket-key');
    res.upgrade(held, key, 'sealwire.v1.json', req.getHeader('sec-websocket-extensions'), context);
  },
  open(ws) {
    const held = ws.getUserData();
    const peer = { ws: ws as unknown as Socket, held };
    peers.set(held.user, peer);
    say(peer, welcome(held));
    say(peer, '{"type":"inbox.empty","cursor":0}');
  },
  message(ws, message) {
    const command = JSON.parse(Buffer.from(message).toString()) as Command;
    const peer = peers.get(ws.getUserData().user)!;
    if (command.type === 'message.send') relay(peer, command);
    else if (command.type === 'inbox.ack') report(peer);
    else say(peer, '{"type":"pong"}');
  },
  close(ws) {
    const held = ws.getUserData();
    held.live = false;
    peers.delete(held.user);
  },
});
app.listen('127.0.0.1', 0, (socket) => {
  if (!socket) throw new Error('the relay cannot listen');
  process.send?.({ port: uws.us_socket_local_port(socket as never) });
});
process.on('disconnect', () => process.exit(0));
