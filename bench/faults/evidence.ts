/** Collects what clients saw and what history holds at the end, in the form in which the checker looks it up. */
import type { Delivered, Event, Queued, Send } from './journal.ts';

/** A message as history holds it. */
export interface HistoryRow {
  message_id: string;
  conversation: string;
  seq: number;
  sender: string;
  sender_device: string;
  client_message_id: string;
  hash: string;
}
export interface Evidence {
  /** Device → user. */
  devices: ReadonlyMap<string, string>;
  /** Conversation → users. */
  members: ReadonlyMap<string, readonly string[]>;
  events: readonly Event[];
  history: readonly HistoryRow[];
}

/** Returns the key of a message: a client message id is unique per sender. */
export const messageKey = (user: string, client_message_id: string): string => `${user} ${client_message_id}`;

/** Indexes the evidence by message and by device. */
export class EvidenceIndex {
  readonly evidence: Evidence;
  readonly sends = new Map<string, Send[]>();
  readonly queued = new Map<string, Queued[]>();
  readonly rows = new Map<string, HistoryRow[]>();
  /** Device → message id → its deliveries to the application. */
  readonly delivered = new Map<string, Map<string, Delivered[]>>();

  constructor(evidence: Evidence) {
    this.evidence = evidence;
    for (const device of evidence.devices.keys()) this.delivered.set(device, new Map());
    for (const event of evidence.events) {
      if (event.kind === 'send') append(this.sends, this.keyOf(event), event);
      else if (event.kind === 'queued') append(this.queued, this.keyOf(event), event);
      else if (event.kind === 'got') append(this.delivered.get(event.device)!, event.message_id, event);
    }
    for (const row of evidence.history) append(this.rows, messageKey(row.sender, row.client_message_id), row);
  }

  keyOf({ device, client_message_id }: { device: string; client_message_id: string }): string {
    return messageKey(this.evidence.devices.get(device)!, client_message_id);
  }

  /** Yields each row of history that a device should have, and that it has neither received nor sent itself. */
  *undelivered(): Generator<{ device: string; row: HistoryRow }> {
    const devicesOf = new Map<string, string[]>();
    for (const [device, user] of this.evidence.devices) append(devicesOf, user, device);
    for (const row of this.evidence.history) {
      const key = messageKey(row.sender, row.client_message_id);
      const authors = new Set([row.sender_device, ...(this.queued.get(key) ?? []).map(({ device }) => device)]);
      for (const user of this.evidence.members.get(row.conversation) ?? []) {
        for (const device of devicesOf.get(user) ?? [])
          if (!authors.has(device) && !this.delivered.get(device)!.has(row.message_id)) yield { device, row };
      }
    }
  }
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values) values.push(value);
  else map.set(key, [value]);
}
