/**
 * The invariants I1–I6, as pure functions over what clients saw and what history holds at the end. Nothing here knows
 * which fault there was: whatever happened, these hold.
 */
import type { Event, Got, Queued, Send } from './journal.ts';

/** A message as history holds it. */
export interface Row {
  message_id: string;
  conversation: string;
  seq: number;
  sender: string;
  sender_device: string;
  client_message_id: string;
  hash: string;
}
export interface Story {
  /** Device → user. */
  devices: ReadonlyMap<string, string>;
  /** Conversation → users. */
  members: ReadonlyMap<string, readonly string[]>;
  events: readonly Event[];
  history: readonly Row[];
}
export interface Violation {
  invariant: string;
  text: string;
}

/** Refusals after which the message may stand in history all the same. */
const UNDECIDED = new Set(['closed', 'unavailable', 'internal']);
const keyOf = (user: string, client_message_id: string): string => `${user} ${client_message_id}`;
const short = (id: string): string => id.slice(-6);

class Facts {
  readonly story: Story;
  readonly sends = new Map<string, Send[]>();
  readonly queued = new Map<string, Queued[]>();
  readonly rows = new Map<string, Row[]>();
  /** Device → message id → what it was handed. */
  readonly got = new Map<string, Map<string, Got[]>>();

  constructor(story: Story) {
    this.story = story;
    for (const device of story.devices.keys()) this.got.set(device, new Map());
    for (const event of story.events) {
      if (event.kind === 'send') push(this.sends, this.key(event), event);
      else if (event.kind === 'queued') push(this.queued, this.key(event), event);
      else if (event.kind === 'got') push(this.got.get(event.device)!, event.message_id, event);
    }
    for (const row of story.history) push(this.rows, keyOf(row.sender, row.client_message_id), row);
  }

  key({ device, client_message_id }: { device: string; client_message_id: string }): string {
    return keyOf(this.story.devices.get(device)!, client_message_id);
  }

  /** What every device should have and was neither handed nor sent itself. */
  *missing(): Generator<{ device: string; row: Row }> {
    const of = new Map<string, string[]>();
    for (const [device, user] of this.story.devices) push(of, user, device);
    for (const row of this.story.history) {
      const key = keyOf(row.sender, row.client_message_id);
      const authors = new Set([row.sender_device, ...(this.queued.get(key) ?? []).map(({ device }) => device)]);
      for (const user of this.story.members.get(row.conversation) ?? []) {
        for (const device of of.get(user) ?? [])
          if (!authors.has(device) && !this.got.get(device)!.has(row.message_id)) yield { device, row };
      }
    }
  }
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const known = map.get(key);
  if (known) known.push(value);
  else map.set(key, [value]);
}

/** How many deliveries and history rows are still outstanding: zero when all is quiet. */
export function outstanding(story: Story): number {
  const facts = new Facts(story);
  let n = 0;
  for (const _ of facts.missing()) n++;
  for (const key of facts.queued.keys()) if (!facts.rows.has(key)) n++;
  return n;
}

export function check(story: Story): Violation[] {
  const facts = new Facts(story);
  return [told, once, numbered, inOrder, whole, honest].flatMap((law) => [...law(facts)]);
}

/** I1: what was said to be queued is in history as it was sent, and with every device that may have it. */
function* told({ queued, rows, sends }: Facts): Generator<Violation> {
  for (const [key, acks] of queued) {
    const row = rows.get(key)?.[0];
    const { message_id, seq, conversation, client_message_id } = acks[0]!;
    const what = `${short(client_message_id)} (seq ${seq} of ${short(conversation)})`;
    if (!row) yield { invariant: 'I1', text: `${what} was queued and is not in history` };
    else if (!sends.get(key)?.some(({ hash }) => hash === row.hash))
      yield { invariant: 'I1', text: `${what} stands in history with another payload` };
    else if (row.message_id !== message_id || row.seq !== seq || row.conversation !== conversation)
      yield {
        invariant: 'I1',
        text: `${what} stands in history as another message: seq ${row.seq} of ${short(row.conversation)}`,
      };
  }
}

/** I2: one client id is one message, handed to each device once; cursors only rise. */
function* once({ queued, rows, got, story }: Facts): Generator<Violation> {
  for (const [key, acks] of queued) {
    const ids = new Set(acks.map(({ message_id }) => message_id));
    if (ids.size > 1) yield { invariant: 'I2', text: `${key} was acknowledged as ${ids.size} messages` };
  }
  for (const [key, all] of rows)
    if (all.length > 1) yield { invariant: 'I2', text: `${key} stands ${all.length} times in history` };
  for (const [device, messages] of got) {
    const seen = new Map<string, string>();
    for (const [id, times] of messages) {
      const { seq, conversation, sender, client_message_id } = times[0]!;
      if (times.length > 1)
        yield {
          invariant: 'I2',
          text: `device ${short(device)} was handed seq ${seq} of ${short(conversation)} ${times.length} times`,
        };
      const key = keyOf(sender, client_message_id);
      if (seen.has(key))
        yield {
          invariant: 'I2',
          text: `device ${short(device)} was handed ${short(client_message_id)} as two messages`,
        };
      seen.set(key, id);
    }
  }
  for (const event of story.events)
    if (event.kind === 'disorder')
      yield {
        invariant: 'I2',
        text: `device ${short(event.device)}: cursor ${event.cursor} after ${event.after} on one socket`,
      };
}

/** I3: numbers without holes. */
function* numbered({ story }: Facts): Generator<Violation> {
  const last = new Map<string, number>();
  for (const { conversation, seq } of [...story.history].sort((a, b) => a.seq - b.seq)) {
    const before = last.get(conversation) ?? 0;
    if (seq !== before + 1)
      yield { invariant: 'I3', text: `history of ${short(conversation)} goes from seq ${before} to ${seq}` };
    last.set(conversation, seq);
  }
}

/** I3: what was acknowledged before something else was sent comes before it; so does what one device sent first. */
function* inOrder(facts: Facts): Generator<Violation> {
  const acked = new Map<string, number>();
  /** By client id: the highest seq acknowledged in its conversation when it was first sent. */
  const after = new Map<string, number>();
  const flights = new Map<string, { n: number; line: string }>();
  /** Per device, conversation and time without disturbance: the latest send that is acknowledged. */
  const lines = new Map<string, { n: number; seq: number }>();
  const shaken = new Map<string, number>();
  let faults = 0;
  let n = 0;
  const line = (device: string, conversation: string): string =>
    `${device} ${conversation} ${faults} ${shaken.get(device) ?? 0}`;
  for (const event of facts.story.events) {
    if (event.kind === 'mark') faults++;
    else if (['open', 'close', 'refused', 'delayed'].includes(event.kind))
      shaken.set(event.device, (shaken.get(event.device) ?? 0) + 1);
    else if (event.kind === 'send') {
      const { device, conversation, client_message_id } = event;
      const key = facts.key(event);
      if (!after.has(key)) after.set(key, acked.get(conversation) ?? 0);
      // What is sent in several places or again has its place from whichever came first.
      if (facts.sends.get(key)!.length === 1)
        flights.set(`${device} ${client_message_id}`, { n: n++, line: line(device, conversation) });
    } else if (event.kind === 'queued') {
      const { device, conversation, seq, client_message_id } = event;
      const floor = after.get(facts.key(event)) ?? 0;
      const what = `seq ${seq} of ${short(conversation)}`;
      if (seq <= floor) yield { invariant: 'I3', text: `${what} was sent after seq ${floor} was acknowledged` };
      acked.set(conversation, Math.max(seq, acked.get(conversation) ?? 0));
      const flight = flights.get(`${device} ${client_message_id}`);
      if (flight?.line !== line(device, conversation)) continue;
      const before = lines.get(flight.line);
      if (before && flight.n > before.n !== seq > before.seq)
        yield {
          invariant: 'I3',
          text: `device ${short(device)} sent ${what} and seq ${before.seq} the other way round`,
        };
      if (!before || flight.n > before.n) lines.set(flight.line, { n: flight.n, seq });
    }
  }
}

/** I1 and I4: every device has all of its conversations, each in order, unless it was told of a gap. */
function* whole(facts: Facts): Generator<Violation> {
  for (const { device, row } of facts.missing()) {
    const what = `device ${short(device)} never got seq ${row.seq} of ${short(row.conversation)}`;
    if (facts.queued.has(keyOf(row.sender, row.client_message_id))) yield { invariant: 'I1', text: what };
    else yield { invariant: 'I4', text: `${what}, and was not told` };
  }
  const last = new Map<string, number>();
  const gaps = new Set<string>();
  for (const event of facts.story.events) {
    if (event.kind === 'gap') gaps.add(event.device);
    if (event.kind !== 'got') continue;
    const { device, conversation, seq, resync } = event;
    if (resync && !gaps.has(device))
      yield { invariant: 'I4', text: `device ${short(device)} resynced without having been told of a gap` };
    const line = `${device} ${conversation}`;
    const before = last.get(line) ?? 0;
    if (seq < before && !resync)
      yield {
        invariant: 'I4',
        text: `device ${short(device)} got seq ${seq} of ${short(conversation)} after ${before}`,
      };
    last.set(line, Math.max(seq, before));
  }
}

/** I5 and I6: nothing that nobody sent, nothing changed on its way, nothing for others' eyes, nothing that was refused. */
function* honest(facts: Facts): Generator<Violation> {
  const { sends, queued, story, rows, got } = facts;
  const sent = (key: string, conversation: string, hash: string): boolean =>
    sends.get(key)?.some((one) => one.conversation === conversation && one.hash === hash) ?? false;
  for (const row of story.history) {
    if (!sent(keyOf(row.sender, row.client_message_id), row.conversation, row.hash))
      yield { invariant: 'I5', text: `history holds seq ${row.seq} of ${short(row.conversation)}, which nobody sent` };
  }
  for (const [device, messages] of got) {
    const user = story.devices.get(device)!;
    for (const [one] of messages.values()) {
      const { conversation, seq, sender, client_message_id, hash } = one!;
      const what = `device ${short(device)} got seq ${seq} of ${short(conversation)}`;
      if (!sent(keyOf(sender, client_message_id), conversation, hash))
        yield { invariant: 'I5', text: `${what}, which ${short(sender)} never sent` };
      else if (!story.members.get(conversation)?.includes(user))
        yield { invariant: 'I6', text: `${what} and is not a member` };
      const row = rows.get(keyOf(sender, client_message_id))?.[0];
      if (row && (row.message_id !== one!.message_id || row.seq !== seq))
        yield { invariant: 'I5', text: `${what}, which history numbers ${row.seq}` };
    }
  }
  for (const event of story.events) {
    if (event.kind !== 'refused' || UNDECIDED.has(event.code)) continue;
    const key = facts.key(event);
    if (rows.has(key) && !queued.has(key))
      yield {
        invariant: 'I5',
        text: `${short(event.client_message_id)} was refused (${event.code}) and is in history`,
      };
  }
}
