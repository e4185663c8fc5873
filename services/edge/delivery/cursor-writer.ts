/**
 * How far each device has got, written behind: the newest of each device, in one statement. Cursors never go back. What
 * that makes known to be delivered is told by the same statement, so a device that acknowledges again tells it again.
 * `updated_at` is until when a device had everything that was stored for it: what the inbox drops for its age may have been
 * the device's where it was stored later.
 */
import type { Logger } from 'pino';
import { item } from '../../../nats/inbox/item.ts';
import type { Database } from '../../../shared/db/database.ts';
import { derivedId, uuid7Time } from '../../../shared/ids.ts';

const EVERY_MS = 500;
const AT_ONCE = 1_000;
const TYPE = 'chat.message.delivered';
const HEAD_BYTES = 91;

interface Note {
  user_id: string;
  device_id: string;
  /** Prefix of the newest item. */
  about: Buffer;
}
/** How far a device has got. */
export interface Reached {
  cursor: number;
  /** Until when it had everything that was stored for it, ms since 1970. */
  since: number;
}
const CURSORS = `insert into device_cursors (device_id, cursor, updated_at)
  select k.device_id, k.cursor, to_timestamp(k.since / 1000.0)
  from unnest($1::uuid[], $2::bigint[], $3::bigint[]) as k(device_id, cursor, since)
  on conflict (device_id) do update
    set cursor = greatest(device_cursors.cursor, excluded.cursor),
      updated_at = greatest(device_cursors.updated_at, excluded.updated_at)`;
const WITH_EVENTS = `with moved as (${CURSORS})
  insert into event_outbox (id, type, conversation_id, data)
  select id, '${TYPE}', conversation_id, data
  from unnest($4::uuid[], $5::uuid[], $6::json[]) as e(id, conversation_id, data)`;

export class CursorWriter {
  readonly #db: Database;
  readonly #log: Logger;
  readonly #timer: NodeJS.Timeout;
  #dirty = new Map<string, Reached>();
  #writing = new Map<string, Reached>();
  /** Who asked the database before these were committed still comes for them. */
  #written = new Map<string, Reached>();
  /** By conversation, sender and device. */
  #notes = new Map<string, Note>();
  #flushing: Promise<void> | undefined;

  constructor(db: Database, log: Logger) {
    this.#db = db;
    this.#log = log;
    this.#timer = setInterval(() => void this.flush(), EVERY_MS).unref();
  }

  /** `since`: left out where the device may be missing something; a device has everything when it is made. */
  set(device: string, cursor: number, since = uuid7Time(device)): void {
    const known = this.#dirty.get(device);
    if (!known) {
      this.#dirty.set(device, { cursor, since });
    } else {
      known.cursor = Math.max(known.cursor, cursor);
      known.since = Math.max(known.since, since);
    }
    if (this.#dirty.size === AT_ONCE) void this.flush();
  }

  /** With the next cursor of the device its user has what `about` is the prefix of, and all before it from that sender. */
  note(user_id: string, device_id: string, about: Buffer): void {
    if (item.userId(about) === user_id) return;
    const key = about.toString('latin1', 42, 58) + about.toString('latin1', 74, 90) + device_id;
    // A copy: the item lies in a large buffer of the connection.
    this.#notes.set(key, { user_id, device_id, about: Buffer.from(about.subarray(0, HEAD_BYTES)) });
  }

  /** What is not written yet, or was a moment ago: where it is more than what the database said, it counts. */
  get(device: string): Reached | undefined {
    return this.#dirty.get(device) ?? this.#writing.get(device) ?? this.#written.get(device);
  }

  /** The device was deleted. */
  forget(device: string): void {
    for (const known of [this.#dirty, this.#writing, this.#written]) known.delete(device);
  }

  /** Resolves when everything known so far is written, or could not be. */
  async flush(): Promise<void> {
    await this.#flushing;
    if (this.#dirty.size === 0) return;
    this.#flushing ??= this.#write().finally(() => {
      this.#flushing = undefined;
    });
    await this.#flushing;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.flush();
  }

  async #write(): Promise<void> {
    this.#writing = this.#dirty;
    this.#dirty = new Map();
    const notes = this.#notes;
    this.#notes = new Map();
    // Every edge locks rows in the same order.
    const devices = [...this.#writing.keys()].sort();
    try {
      const reached = devices.map((device) => this.#writing.get(device)!);
      const values = [devices, reached.map(({ cursor }) => cursor), reached.map(({ since }) => since)];
      if (notes.size) await this.#db.query(WITH_EVENTS, [...values, ...columns([...notes.values()])]);
      else await this.#db.query(CURSORS, values);
      this.#written = this.#writing;
    } catch (error) {
      for (const [device, { cursor, since }] of this.#writing) this.set(device, cursor, since);
      for (const [key, note] of notes) if (!this.#notes.has(key)) this.#notes.set(key, note);
      this.#log.warn({ unit: 'cursors', devices: devices.length, reason: String(error) }, 'cursors kept for later');
    }
    this.#writing = new Map();
  }
}

/** The same message to the same device is the same event, however often it is acknowledged. */
function columns(notes: Note[]): [ids: string[], conversations: string[], data: string[]] {
  const told = notes.map(({ user_id, device_id, about }) => ({
    message_id: item.messageId(about),
    conversation_id: item.conversationId(about),
    seq: item.seq(about),
    sender_id: item.userId(about),
    user_id,
    device_id,
  }));
  return [
    told.map((one) => derivedId(uuid7Time(one.message_id), `${TYPE} ${one.message_id} ${one.device_id}`)),
    told.map((one) => one.conversation_id),
    told.map((one) => JSON.stringify(one)),
  ];
}
