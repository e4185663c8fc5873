/**
 * The people who are connected here: one core subscription each, for what is republished from their inbox and for
 * signals between edges. This is the live path: per item one look at the headers, one frame, and a send per device.
 */
import type { Msg, Subscription } from 'nats';
import { item } from '../../../nats/inbox/item.ts';
import { subject } from '../../../nats/topology.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { Connection } from '../connections/connection.ts';
import type { Edge } from '../edge.ts';
import { DELIVERED, deliveredFrame } from './delivery-receipts.ts';
import type { LiveItem } from './live-items.ts';

/** What one edge tells the others about a device. `replaced`: it has a newer connection; `away`: it got a durable. */
export type Signal = { t: 'replaced'; device_id: string; connection_id: string } | { t: 'away'; device_id: string };

interface Person {
  sessions: Connection[];
  subscription: Subscription;
  /** Length of the subject up to its last token. */
  prefix: number;
}

const SEQ = 'Nats-Sequence: ';
const LAST = 'Nats-Last-Sequence: ';

export class LiveSubscriptions {
  readonly #edge: Edge;
  readonly #of = new Map<string, Person>();

  constructor(edge: Edge) {
    this.#edge = edge;
  }

  get size(): number {
    return this.#of.size;
  }

  join(session: Connection): void {
    const { user_id } = session;
    const known = this.#of.get(user_id);
    if (known) {
      known.sessions.push(session);
      return;
    }
    const live = subject.live(user_id, this.#edge.config.INBOX_SHARDS);
    const person: Person = { sessions: [session], prefix: live.length - 1, subscription: undefined as never };
    person.subscription = this.#edge.nc.subscribe(live, {
      callback: (error, message) => void (error || this.#hear(person, message)),
    });
    this.#of.set(user_id, person);
  }

  leave(session: Connection): void {
    const person = this.#of.get(session.user_id);
    const at = person?.sessions.indexOf(session) ?? -1;
    if (!person || at < 0) return;
    person.sessions.splice(at, 1);
    if (person.sessions.length) return;
    this.#of.delete(session.user_id);
    person.subscription.unsubscribe();
  }

  signal(user_id: string, signal: Signal): void {
    const { nc, config } = this.#edge;
    if (!nc.isClosed()) nc.publish(subject.signal(user_id, config.INBOX_SHARDS), JSON.stringify(signal));
  }

  #hear(person: Person, message: Msg): void {
    const target = message.subject.slice(person.prefix);
    const { data } = message;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    if (target === 'signal') {
      this.#heed(person, bytes);
      return;
    }
    if (!item.valid(bytes)) return;
    const one = sequences(message, bytes);
    if (target === 'all') for (const session of person.sessions) session.inbox.live(one, false);
    else for (const session of person.sessions) if (session.device_id === target) session.inbox.live(one, true);
  }

  #heed(person: Person, bytes: Buffer): void {
    if (bytes.length > DELIVERED.length && bytes.compare(DELIVERED, 0, DELIVERED.length, 0, DELIVERED.length) === 0) {
      const frame = deliveredFrame(bytes);
      for (const session of person.sessions) session.say(frame);
      return;
    }
    const signal = JSON.parse(bytes.toString()) as Signal;
    const session = person.sessions.find(({ device_id }) => device_id === signal.device_id);
    if (!session) return;
    if (signal.t === 'away' && session.inbox.phase === 'live') this.#edge.away.back(session);
    else if (signal.t === 'replaced' && session.connection_id < signal.connection_id)
      session.end(CLOSE.replaced, 'a newer connection of this device');
  }
}

/** Reads the two sequences out of the raw header where the client library keeps it, which is ten times cheaper. */
function sequences(message: Msg, data: Buffer): LiveItem {
  const { _rdata, _msg } = message as unknown as { _rdata?: Uint8Array; _msg?: { hdr: number } };
  let seq: number;
  let last: number;
  if (_rdata && _msg && _msg.hdr > 0) {
    const text = Buffer.from(_rdata.buffer, _rdata.byteOffset, _msg.hdr).toString('latin1');
    seq = numberAfter(text, SEQ);
    last = numberAfter(text, LAST);
  } else {
    seq = Number(message.headers?.get('Nats-Sequence'));
    last = Number(message.headers?.get('Nats-Last-Sequence'));
  }
  return { data, seq, last, cursor: item.base(data) + seq, frame: undefined };
}

function numberAfter(text: string, name: string): number {
  // The name of one header is the end of the other's: a header begins after a line break.
  let n = 0;
  for (let i = text.indexOf(`\n${name}`) + 1 + name.length; ; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return n;
    n = n * 10 + digit;
  }
}
