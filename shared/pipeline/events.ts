/** Encodes and decodes messages of EVENTS: one event or more, each a line of JSON. */
import type { EventData, EventName } from '../contract/events.ts';
import { derivedId } from '../ids.ts';

export interface Event<T extends EventName = EventName> {
  /** Derived from what happened, so that an event published twice has the same id. */
  id: string;
  type: T;
  /** When it happened, RFC 3339. */
  timestamp: string;
  conversation_id?: string | undefined;
  data: EventData<T>;
}

/** `what` names this occurrence among all of its type, e.g. a message's id. `at`: ms since 1970. */
export function event<T extends EventName>(
  type: T,
  at: number,
  what: string,
  data: EventData<T>,
  conversation_id?: string,
): Event<T> {
  const id = derivedId(at, `${type} ${what}`);
  return { id, type, timestamp: new Date(at).toISOString(), conversation_id, data };
}

/** `lines`: events as JSON, each without a line feed. */
export const encodeLines = (lines: readonly string[]): Buffer => Buffer.from(lines.join('\n'));
export const encodeEvents = (events: readonly Event[]): Buffer => encodeLines(events.map((one) => JSON.stringify(one)));

/** @throws on bytes that are not events; the message becomes a dead letter */
export function decodeEvents(data: Uint8Array): Event[] {
  const text = Buffer.from(data.buffer, data.byteOffset, data.length).toString();
  return text.split('\n').map((line) => {
    const one = JSON.parse(line) as Event;
    if (typeof one.id !== 'string' || typeof one.type !== 'string') throw new Error('a line is not an event');
    return one;
  });
}
