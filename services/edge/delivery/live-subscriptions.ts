/**
 * Subscribes once for each connected user to what is republished from the user's inbox and to signals between edges. This is
 * the live path: per item one look at the headers, one frame, and a send per device.
 */
import type { Msg, NatsConnection, Subscription } from 'nats';
import { item } from '../../../nats/inbox/item.ts';
import { ALL_DEVICES, SIGNAL, subject } from '../../../nats/topology.ts';
import type { Config } from '../../../shared/config/index.ts';
import { CLOSE } from '../../../shared/contract/protocol.ts';
import type { ConsumerScheduler } from '../offline/consumer-scheduler.ts';
import { DELIVERED_SIGNAL, deliveredFrame } from './delivery-receipts.ts';
import type { DeviceInbox } from './device-inbox.ts';
import type { DeviceSignal } from './device-signals.ts';
import type { LiveItem } from './live-items.ts';

interface ConnectedUser {
  inboxes: DeviceInbox[];
  subscription: Subscription;
  /** Length of the subject up to its last token. */
  prefixLength: number;
}

const SEQUENCE = 'Nats-Sequence: ';
const LAST_SEQUENCE = 'Nats-Last-Sequence: ';

export class LiveSubscriptions {
  readonly #nc: NatsConnection;
  readonly #config: Pick<Config, 'INBOX_SHARDS'>;
  readonly #scheduler: ConsumerScheduler;
  readonly #users = new Map<string, ConnectedUser>();

  constructor(nc: NatsConnection, config: Pick<Config, 'INBOX_SHARDS'>, scheduler: ConsumerScheduler) {
    this.#nc = nc;
    this.#config = config;
    this.#scheduler = scheduler;
  }

  add(inbox: DeviceInbox): void {
    const { user_id } = inbox.output;
    const known = this.#users.get(user_id);
    if (known) {
      known.inboxes.push(inbox);
      return;
    }
    const live = subject.live(user_id, this.#config.INBOX_SHARDS);
    const user: ConnectedUser = {
      inboxes: [inbox],
      prefixLength: live.length - 1,
      subscription: this.#nc.subscribe(live, {
        callback: (error, message) => void (error || this.#onMessage(user, message)),
      }),
    };
    this.#users.set(user_id, user);
  }

  remove(inbox: DeviceInbox): void {
    const user = this.#users.get(inbox.output.user_id);
    const index = user?.inboxes.indexOf(inbox) ?? -1;
    if (!user || index < 0) return;
    user.inboxes.splice(index, 1);
    if (user.inboxes.length) return;
    this.#users.delete(inbox.output.user_id);
    user.subscription.unsubscribe();
  }

  #onMessage(user: ConnectedUser, message: Msg): void {
    const target = message.subject.slice(user.prefixLength);
    const { data } = message;
    const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
    if (target === SIGNAL) {
      this.#onSignal(user, bytes);
      return;
    }
    if (!item.valid(bytes)) return;
    const liveItem = readLiveItem(message, bytes);
    if (target === ALL_DEVICES) for (const inbox of user.inboxes) inbox.receiveLive(liveItem, false);
    else for (const inbox of user.inboxes) if (inbox.output.device_id === target) inbox.receiveLive(liveItem, true);
  }

  #onSignal({ inboxes }: ConnectedUser, bytes: Buffer): void {
    const { length } = DELIVERED_SIGNAL;
    if (bytes.length > length && bytes.compare(DELIVERED_SIGNAL, 0, length, 0, length) === 0) {
      const frame = deliveredFrame(bytes);
      for (const { output } of inboxes) output.send(frame);
      return;
    }
    const signal = JSON.parse(bytes.toString()) as DeviceSignal;
    const inbox = inboxes.find(({ output }) => output.device_id === signal.device_id);
    if (!inbox) return;
    if (signal.t === 'away' && inbox.phase === 'live') this.#scheduler.scheduleDeletion(inbox.output);
    else if (signal.t === 'replaced' && inbox.output.connection_id < signal.connection_id)
      inbox.output.close(CLOSE.replaced, 'a newer connection of this device');
  }
}

/** Reads the two sequences from the raw headers where the client library keeps them, which is ten times cheaper. */
function readLiveItem(message: Msg, data: Buffer): LiveItem {
  const { _rdata, _msg } = message as unknown as { _rdata?: Uint8Array; _msg?: { hdr: number } };
  let seq: number;
  let previousSeq: number;
  if (_rdata && _msg && _msg.hdr > 0) {
    const text = Buffer.from(_rdata.buffer, _rdata.byteOffset, _msg.hdr).toString('latin1');
    seq = readNumberAfter(text, SEQUENCE);
    previousSeq = readNumberAfter(text, LAST_SEQUENCE);
  } else {
    seq = Number(message.headers?.get('Nats-Sequence'));
    previousSeq = Number(message.headers?.get('Nats-Last-Sequence'));
  }
  return { data, seq, previousSeq, cursor: item.base(data) + seq, frame: undefined };
}

function readNumberAfter(text: string, name: string): number {
  // The name of one header is the end of the other's: a header begins after a line break.
  let n = 0;
  for (let i = text.indexOf(`\n${name}`) + 1 + name.length; ; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return n;
    n = n * 10 + digit;
  }
}
