/** Finds violations of the invariants I1–I6, as pure functions over the evidence of a run. */
import { type EvidenceIndex, messageKey } from './evidence.ts';

export interface Violation {
  invariant: string;
  text: string;
}

/** Refusals after which the message may be in history all the same. */
const INCONCLUSIVE_REFUSALS = new Set(['closed', 'unavailable', 'internal']);
const short = (id: string): string => id.slice(-6);

/** I1: a message that was acknowledged as queued is in history as it was sent. */
function* checkQueuedIsStored({ queued, rows, sends }: EvidenceIndex): Generator<Violation> {
  for (const [key, acks] of queued) {
    const row = rows.get(key)?.[0];
    const { message_id, seq, conversation, client_message_id } = acks[0]!;
    const message = `${short(client_message_id)} (seq ${seq} of ${short(conversation)})`;
    if (!row) yield { invariant: 'I1', text: `${message} was queued and is not in history` };
    else if (!sends.get(key)?.some(({ hash }) => hash === row.hash))
      yield { invariant: 'I1', text: `${message} is in history with another payload` };
    else if (row.message_id !== message_id || row.seq !== seq || row.conversation !== conversation)
      yield {
        invariant: 'I1',
        text: `${message} is in history as another message: seq ${row.seq} of ${short(row.conversation)}`,
      };
  }
}

/** I2: one client message id is one message. */
function* checkNoDuplicateMessages({ queued, rows }: EvidenceIndex): Generator<Violation> {
  for (const [key, acks] of queued) {
    const ids = new Set(acks.map(({ message_id }) => message_id));
    if (ids.size > 1) yield { invariant: 'I2', text: `${key} was acknowledged as ${ids.size} messages` };
  }
  for (const [key, duplicates] of rows)
    if (duplicates.length > 1) yield { invariant: 'I2', text: `${key} is ${duplicates.length} times in history` };
}

/** I2: each device receives a message once, and cursors only rise. */
function* checkNoDuplicateDeliveries({ delivered, evidence }: EvidenceIndex): Generator<Violation> {
  for (const [device, messages] of delivered) {
    const keys = new Set<string>();
    for (const deliveries of messages.values()) {
      const { seq, conversation, sender, client_message_id } = deliveries[0]!;
      const received = `device ${short(device)} received`;
      if (deliveries.length > 1)
        yield {
          invariant: 'I2',
          text: `${received} seq ${seq} of ${short(conversation)} ${deliveries.length} times`,
        };
      const key = messageKey(sender, client_message_id);
      if (keys.has(key)) yield { invariant: 'I2', text: `${received} ${short(client_message_id)} as two messages` };
      keys.add(key);
    }
  }
  for (const event of evidence.events)
    if (event.kind === 'disorder')
      yield {
        invariant: 'I2',
        text: `device ${short(event.device)}: cursor ${event.cursor} after ${event.after} on one socket`,
      };
}

/** I3: the seqs of a conversation have no holes. */
function* checkSeqsHaveNoHoles({ evidence }: EvidenceIndex): Generator<Violation> {
  const lastSeqs = new Map<string, number>();
  for (const { conversation, seq } of [...evidence.history].sort((a, b) => a.seq - b.seq)) {
    const last = lastSeqs.get(conversation) ?? 0;
    if (seq !== last + 1)
      yield { invariant: 'I3', text: `history of ${short(conversation)} goes from seq ${last} to ${seq}` };
    lastSeqs.set(conversation, seq);
  }
}

/**
 * I3: a message that was sent after another one was acknowledged has a higher seq. Messages of one device have seqs in the
 * order of sending, as long as nothing disturbs its connection.
 */
function* checkSeqsFollowSends(index: EvidenceIndex): Generator<Violation> {
  /** Conversation → highest acknowledged seq. */
  const ackedSeqs = new Map<string, number>();
  /** Message → highest seq acknowledged in its conversation when it was first sent. */
  const seqsBefore = new Map<string, number>();
  const order = new SendOrder();
  for (const event of index.evidence.events) {
    order.noteDisturbance(event);
    if (event.kind === 'send') {
      const key = index.keyOf(event);
      if (!seqsBefore.has(key)) seqsBefore.set(key, ackedSeqs.get(event.conversation) ?? 0);
      // A message that is sent more than once gets the position of whichever copy arrives first.
      if (index.sends.get(key)!.length === 1) order.noteSend(event);
    } else if (event.kind === 'queued') {
      const { device, conversation, seq } = event;
      const seqBefore = seqsBefore.get(index.keyOf(event)) ?? 0;
      const message = `seq ${seq} of ${short(conversation)}`;
      if (seq <= seqBefore)
        yield { invariant: 'I3', text: `${message} was sent after seq ${seqBefore} was acknowledged` };
      ackedSeqs.set(conversation, Math.max(seq, ackedSeqs.get(conversation) ?? 0));
      const swappedSeq = order.noteQueued(event);
      if (swappedSeq !== undefined)
        yield {
          invariant: 'I3',
          text: `device ${short(device)} sent ${message} and seq ${swappedSeq} in the opposite order`,
        };
    }
  }
}

/** Compares the order in which a device sent its messages to a conversation with their seqs, between two disturbances. */
class SendOrder {
  /** Device and message → its number in the order of sending, and the series that it belongs to. */
  readonly #sends = new Map<string, { number: number; series: string }>();
  /** Series → its latest acknowledged send. A series is one device, conversation and time without disturbance. */
  readonly #latestAcked = new Map<string, { number: number; seq: number }>();
  /** Device → disturbances of its connection so far. */
  readonly #disturbances = new Map<string, number>();
  #faultCount = 0;
  #sendCount = 0;

  noteDisturbance(event: { kind: string; device?: string }): void {
    if (event.kind === 'mark') this.#faultCount++;
    else if (['open', 'close', 'refused', 'delayed'].includes(event.kind))
      this.#disturbances.set(event.device!, (this.#disturbances.get(event.device!) ?? 0) + 1);
  }

  noteSend({ device, conversation, client_message_id }: SentMessage): void {
    const send = { number: this.#sendCount++, series: this.#seriesOf(device, conversation) };
    this.#sends.set(`${device} ${client_message_id}`, send);
  }

  /** @returns the seq of an acknowledged message whose order relative to this one is wrong */
  noteQueued({ device, conversation, client_message_id, seq }: SentMessage & { seq: number }): number | undefined {
    const send = this.#sends.get(`${device} ${client_message_id}`);
    if (send?.series !== this.#seriesOf(device, conversation)) return undefined;
    const latest = this.#latestAcked.get(send.series);
    if (!latest || send.number > latest.number) this.#latestAcked.set(send.series, { number: send.number, seq });
    return latest && send.number > latest.number !== seq > latest.seq ? latest.seq : undefined;
  }

  #seriesOf(device: string, conversation: string): string {
    return `${device} ${conversation} ${this.#faultCount} ${this.#disturbances.get(device) ?? 0}`;
  }
}
interface SentMessage {
  device: string;
  conversation: string;
  client_message_id: string;
}

/** I1 and I4: every device has all messages of its conversations, in order, unless it was told of a gap. */
function* checkDevicesHaveEverything(index: EvidenceIndex): Generator<Violation> {
  for (const { device, row } of index.undelivered()) {
    const text = `device ${short(device)} never received seq ${row.seq} of ${short(row.conversation)}`;
    if (index.queued.has(messageKey(row.sender, row.client_message_id))) yield { invariant: 'I1', text };
    else yield { invariant: 'I4', text: `${text}, and was not told of a gap` };
  }
  const lastSeqs = new Map<string, number>();
  const devicesWithGap = new Set<string>();
  for (const event of index.evidence.events) {
    if (event.kind === 'gap') devicesWithGap.add(event.device);
    if (event.kind !== 'got') continue;
    const { device, conversation, seq, resync } = event;
    if (resync && !devicesWithGap.has(device))
      yield { invariant: 'I4', text: `device ${short(device)} resynced without having been told of a gap` };
    const key = `${device} ${conversation}`;
    const last = lastSeqs.get(key) ?? 0;
    if (seq < last && !resync)
      yield {
        invariant: 'I4',
        text: `device ${short(device)} received seq ${seq} of ${short(conversation)} after ${last}`,
      };
    lastSeqs.set(key, Math.max(seq, last));
  }
}

/** I5 and I6: nothing was made up or changed, and only members receive a message. */
function* checkDeliveriesAreGenuine({ sends, evidence, rows, delivered }: EvidenceIndex): Generator<Violation> {
  const wasSent = (key: string, conversation: string, hash: string): boolean =>
    sends.get(key)?.some((send) => send.conversation === conversation && send.hash === hash) ?? false;
  for (const row of evidence.history) {
    if (!wasSent(messageKey(row.sender, row.client_message_id), row.conversation, row.hash))
      yield { invariant: 'I5', text: `history holds seq ${row.seq} of ${short(row.conversation)}, which nobody sent` };
  }
  for (const [device, messages] of delivered) {
    const user = evidence.devices.get(device)!;
    for (const [delivery] of messages.values()) {
      const { conversation, seq, sender, client_message_id, hash, message_id } = delivery!;
      const key = messageKey(sender, client_message_id);
      const text = `device ${short(device)} received seq ${seq} of ${short(conversation)}`;
      if (!wasSent(key, conversation, hash))
        yield { invariant: 'I5', text: `${text}, which ${short(sender)} never sent` };
      else if (!evidence.members.get(conversation)?.includes(user))
        yield { invariant: 'I6', text: `${text} and is not a member` };
      const row = rows.get(key)?.[0];
      if (row && (row.message_id !== message_id || row.seq !== seq))
        yield { invariant: 'I5', text: `${text}, which has seq ${row.seq} in history` };
    }
  }
}

/** I5: a message that was refused for good is not in history. */
function* checkRefusedIsNotStored(index: EvidenceIndex): Generator<Violation> {
  for (const event of index.evidence.events) {
    if (event.kind !== 'refused' || INCONCLUSIVE_REFUSALS.has(event.code)) continue;
    const key = index.keyOf(event);
    if (index.rows.has(key) && !index.queued.has(key))
      yield {
        invariant: 'I5',
        text: `${short(event.client_message_id)} was refused (${event.code}) and is in history`,
      };
  }
}

export const INVARIANTS: readonly ((index: EvidenceIndex) => Iterable<Violation>)[] = [
  checkQueuedIsStored,
  checkNoDuplicateMessages,
  checkNoDuplicateDeliveries,
  checkSeqsHaveNoHoles,
  checkSeqsFollowSends,
  checkDevicesHaveEverything,
  checkDeliveriesAreGenuine,
  checkRefusedIsNotStored,
];
