/** Makes the event `chat.message.created` from one table of its fields: as an object, and as a line of JSON. */
import type { EventData } from '../../shared/contract/events.ts';
import { derivedId } from '../../shared/ids.ts';
import type { MessageRecord } from '../../shared/pipeline/entry.ts';
import { type Event, event } from '../../shared/pipeline/events.ts';

const TYPE = 'chat.message.created';
type Created = EventData<typeof TYPE>;
interface Field<V> {
  /** Undefined where the event has no such field. */
  read: (meta: MessageRecord) => V;
  /** The quotation mark of the value in JSON. Free text would need escaping as well. */
  quote: '"' | '';
}
export type CreatedFields = { [K in keyof Created]-?: Field<Created[K]> };

const number = <V extends number>(read: Field<V>['read']): Field<V> => ({ read, quote: '' });
/** For ids and times, which need no escaping. */
const plain = <V extends string | undefined>(read: Field<V>['read']): Field<V> => ({ read, quote: '"' });

/** The source of each field. A new field of the contract does not compile until it is here. */
const FIELDS = {
  message_id: plain(({ id }) => id),
  conversation_id: plain(({ conversation_id }) => conversation_id),
  seq: number(({ seq }) => seq),
  sender_id: plain(({ user_id }) => user_id),
  sender_device_id: plain(({ device_id }) => device_id),
  sent_at: plain(({ at }) => sentAt(at)),
  attachments_count: number(({ attachments }) => attachments?.length ?? 0),
  reply_to: plain(({ reply_to }) => reply_to || undefined),
  expires_at: plain(({ expires_at }) => (expires_at ? new Date(expires_at).toISOString() : undefined)),
} satisfies CreatedFields;

let lastAt = -1;
let lastText = '';
/** RFC 3339. Remembers the last result, since the messages of one entry have one time. */
function sentAt(at: number): string {
  if (at !== lastAt) {
    lastAt = at;
    lastText = new Date(at).toISOString();
  }
  return lastText;
}

/** The event as an object. */
export function messageCreated(meta: MessageRecord): Event {
  const values = Object.entries(FIELDS).map(([name, { read }]) => [name, read(meta)]);
  const data = Object.fromEntries(values.filter(([, value]) => value !== undefined)) as Created;
  return event(TYPE, meta.at, meta.id, data, meta.conversation_id);
}

/** One function for each field, made once, that appends `,"name":value`: as fast as a template written by hand. */
const APPENDERS = Object.entries<Field<string | number | undefined>>(FIELDS).map(([name, { read, quote }], i) => {
  const opening = `${i ? ',' : ''}"${name}":${quote}`;
  return (meta: MessageRecord, text: string): string => {
    const value = read(meta);
    return value === undefined ? text : text + opening + value + quote;
  };
});

/** The same as `JSON.stringify(messageCreated(meta))`, but faster: most lines of EVENTS are of this type. */
export function messageCreatedLine(meta: MessageRecord): string {
  const { id, conversation_id, at } = meta;
  let text = `{"id":"${derivedId(at, `${TYPE} ${id}`)}","type":"${TYPE}","timestamp":"${sentAt(at)}","conversation_id":"${conversation_id}","data":{`;
  for (let i = 0; i < APPENDERS.length; i++) text = APPENDERS[i]!(meta, text);
  return `${text}}}`;
}
