/** The inbox items that each kind of record becomes: one for each recipient, holding the finished frame. */
import { type ItemHead, WANTS_DELIVERED } from '../../nats/inbox/item.ts';
import { ALL_DEVICES } from '../../nats/topology.ts';
import { unpackEnvelopes } from '../../shared/pipeline/commands.ts';
import type {
  ConversationRecord,
  LogMeta,
  MessageRecord,
  NoticeRecord,
  PaymentRecord,
  ReadRecord,
} from '../../shared/pipeline/entry.ts';
import type { RecordKind, RecordOf } from '../../shared/pipeline/kinds.ts';

export interface Recipients {
  membersOf(conversation: string): readonly string[];
  /** Everybody who shares a conversation with the person, and the person. */
  partnersOf(user: string): readonly string[];
  /** The device was deleted. */
  isRemoved(device: string): boolean;
}

/** Takes the items of a record. */
export interface ItemSink {
  readonly recipients: Recipients;
  /** The sender hears `delivered` and `read` in conversations of up to so many members. */
  readonly statusMaxMembers: number;
  /** `target`: ALL_DEVICES or one device's id. `rest`: the frame after its cursor, in pieces. */
  put(users: readonly string[], target: string, head: ItemHead, rest: Buffer[]): void;
}

export type BuildItems<R extends LogMeta> = (sink: ItemSink, meta: R, head: Buffer, body: Buffer) => void;
export type ItemTable = { [K in RecordKind]: BuildItems<RecordOf<K>> };

const INBOX_ITEMS = {
  message: buildMessage,
  conversation: buildConversation,
  read: buildRead,
  notice: buildNotice,
  payment: buildPayment,
} satisfies ItemTable;

export const itemsOf = (kind: RecordKind): BuildItems<LogMeta> => INBOX_ITEMS[kind] as BuildItems<LogMeta>;

const END = Buffer.from('}}');
const json = (value: unknown): string => JSON.stringify(value);

function buildMessage(sink: ItemSink, meta: MessageRecord, head: Buffer, body: Buffer): void {
  const members = meta.pair ?? sink.recipients.membersOf(meta.conversation_id);
  const prefix: ItemHead = {
    flags: members.length <= sink.statusMaxMembers ? WANTS_DELIVERED : 0,
    base: 0,
    expires_at: meta.expires_at ?? 0,
    seq: meta.seq,
    device_id: meta.device_id,
    conversation_id: meta.conversation_id,
    message_id: meta.id,
    user_id: meta.user_id,
    type: 'message.created',
  };
  if (meta.envelopes) {
    const literals = unpackEnvelopes(body);
    meta.envelopes.forEach(({ device_id, user_id }, i) => {
      if (device_id !== meta.device_id && !sink.recipients.isRemoved(device_id))
        sink.put([user_id], device_id, prefix, [head, literals[i]!, END]);
    });
    return;
  }
  const users = meta.self ? members : members.filter((user) => user !== meta.user_id);
  sink.put(users, ALL_DEVICES, prefix, [head, body, END]);
}

function buildConversation(sink: ItemSink, meta: ConversationRecord): void {
  const { conversation_id: id, type, name, members } = meta;
  const frame = `"conversation":${json({ id, type, name, last_seq: 0, members_count: members.length })}}`;
  sink.put(
    members.map(([user]) => user),
    ALL_DEVICES,
    headWithoutMessage(meta, 'conversation.updated'),
    [Buffer.from(frame)],
  );
}

/** The reader's own devices get the read position; the other members hear that their messages were read. */
function buildRead(sink: ItemSink, meta: ReadRecord): void {
  const { conversation_id, seq, user_id, device_id } = meta;
  const rest = Buffer.from(json({ conversation_id, seq, user_id, device_id }).slice(1));
  sink.put([user_id], ALL_DEVICES, headWithoutMessage(meta, 'receipt.read'), [rest]);
  const members = meta.pair ?? sink.recipients.membersOf(conversation_id);
  if (members.length > sink.statusMaxMembers) return;
  const others = members.filter((user) => user !== user_id);
  const status = Buffer.from('"status":"read",');
  sink.put(others, ALL_DEVICES, headWithoutMessage(meta, 'message.status'), [status, rest]);
}

/** A notice concerns a person and no conversation. */
function buildNotice(sink: ItemSink, { user_id, device_id, type, audience, fields }: NoticeRecord): void {
  const head = {
    flags: 0,
    base: 0,
    expires_at: 0,
    seq: 0,
    device_id,
    user_id,
    conversation_id: '',
    message_id: '',
    type,
  };
  const rest = [Buffer.from(json(fields).slice(1))];
  if (audience === 'partners') sink.put(sink.recipients.partnersOf(user_id), ALL_DEVICES, head, rest);
  else if (!sink.recipients.isRemoved(audience.device_id)) sink.put([user_id], audience.device_id, head, rest);
}

function buildPayment(sink: ItemSink, meta: PaymentRecord): void {
  const { request_id, conversation_id, state, transfer_id, seq, at } = meta;
  const updated_at = new Date(at).toISOString();
  const frame = `"payment":${json({ request_id, conversation_id, state, transfer_id, seq, updated_at })}}`;
  const users = meta.pair ?? sink.recipients.membersOf(conversation_id);
  sink.put(users, ALL_DEVICES, headWithoutMessage(meta, 'payment.updated'), [Buffer.from(frame)]);
}

function headWithoutMessage(meta: ConversationRecord | ReadRecord | PaymentRecord, type: string): ItemHead {
  const { seq, device_id, user_id, conversation_id } = meta;
  return { flags: 0, base: 0, expires_at: 0, seq, device_id, user_id, conversation_id, message_id: '', type };
}
