/**
 * Encodes and reads inbox items. An item is what one recipient gets, ready to be sent: the edge reads the fixed prefix and
 * never the frame.
 *
 * | offset | bytes | |
 * |---|---|---|
 * | 0 | 1 | layout, 1 |
 * | 1 | 1 | flags: 1 the sender wants to hear `delivered` |
 * | 2 | 8 | cursor base, f64: cursor = base + stream sequence (see cursor-map.ts) |
 * | 10 | 8 | expiry, f64 ms since 1970; 0 never |
 * | 18 | 8 | seq, f64 |
 * | 26 | 16 | device that caused it (it gets no copy); zeros for none |
 * | 42 | 16 | conversation |
 * | 58 | 16 | message; zeros for none |
 * | 74 | 16 | user who caused it, the sender |
 * | 90 | 1+n | length and text of the frame's type |
 * | … | | the frame after `"cursor":N,` up to its end |
 *
 * No other file may contain such an offset.
 */
const ITEM_LAYOUT = 1;
export const WANTS_DELIVERED = 1;

const AT_LAYOUT = 0;
const AT_FLAGS = 1;
const AT_BASE = 2;
const AT_EXPIRES = 10;
const AT_SEQ = 18;
const AT_DEVICE = 26;
const AT_CONVERSATION = 42;
const AT_MESSAGE = 58;
const AT_USER = 74;
const AT_TYPE_LENGTH = 90;
const AT_TYPE = 91;
const UUID_BYTES = 16;
const END_DEVICE = AT_DEVICE + UUID_BYTES;
const END_CONVERSATION = AT_CONVERSATION + UUID_BYTES;
const END_USER = AT_USER + UUID_BYTES;

export interface ItemHead {
  flags: number;
  base: number;
  expires_at: number;
  seq: number;
  device_id: string;
  conversation_id: string;
  message_id: string;
  user_id: string;
  type: string;
}

/** Returns the 16 bytes of a UUID; zeros for an empty text. */
export function uuidBytes(id: string): Buffer {
  const out = Buffer.alloc(UUID_BYTES);
  if (id) out.write(id.replaceAll('-', ''), 'hex');
  return out;
}
function uuidText(bytes: Buffer, at = 0): string {
  const h = bytes.toString('hex', at, at + UUID_BYTES);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

function writeUuid(out: Buffer, id: string, at: number): void {
  if (!id) {
    out.fill(0, at, at + UUID_BYTES);
    return;
  }
  out.write(
    id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 18) + id.slice(19, 23) + id.slice(24),
    at,
    UUID_BYTES,
    'hex',
  );
}

/** Joins the prefix and the frame after its cursor. `frame` may be several pieces; the last one closes the JSON object. */
export function encodeItem(head: ItemHead, frame: Buffer[]): Buffer {
  let length = AT_TYPE + head.type.length;
  for (const part of frame) length += part.length;
  const out = Buffer.allocUnsafe(length);
  out[AT_LAYOUT] = ITEM_LAYOUT;
  out[AT_FLAGS] = head.flags;
  out.writeDoubleLE(head.base, AT_BASE);
  out.writeDoubleLE(head.expires_at, AT_EXPIRES);
  out.writeDoubleLE(head.seq, AT_SEQ);
  writeUuid(out, head.device_id, AT_DEVICE);
  writeUuid(out, head.conversation_id, AT_CONVERSATION);
  writeUuid(out, head.message_id, AT_MESSAGE);
  writeUuid(out, head.user_id, AT_USER);
  out[AT_TYPE_LENGTH] = head.type.length;
  let at = AT_TYPE + out.write(head.type, AT_TYPE, 'latin1');
  for (const part of frame) at += part.copy(out, at);
  return out;
}

/** Reads single fields: the edge needs few of them, and of most items only the first. */
export const item = {
  valid: (data: Buffer): boolean => data.length > AT_TYPE && data[AT_LAYOUT] === ITEM_LAYOUT,
  wantsDelivered: (data: Buffer): boolean => (data[AT_FLAGS]! & WANTS_DELIVERED) !== 0,
  base: (data: Buffer): number => data.readDoubleLE(AT_BASE),
  /** Expiry in ms since 1970; 0 when the item never expires. */
  expiresAt: (data: Buffer): number => data.readDoubleLE(AT_EXPIRES),
  seq: (data: Buffer): number => data.readDoubleLE(AT_SEQ),
  /** Compares the causing device with the 16 bytes of `device`. */
  isFromDevice: (data: Buffer, device: Buffer): boolean =>
    data.compare(device, 0, UUID_BYTES, AT_DEVICE, END_DEVICE) === 0,
  type: (data: Buffer): string => data.toString('latin1', AT_TYPE, AT_TYPE + data[AT_TYPE_LENGTH]!),
  conversationId: (data: Buffer): string => uuidText(data, AT_CONVERSATION),
  messageId: (data: Buffer): string => uuidText(data, AT_MESSAGE),
  userId: (data: Buffer): string => uuidText(data, AT_USER),
  /**
   * Copies the fixed prefix, without type and frame: enough for every accessor but `valid`, `type` and `frame`. Items are views
   * into large buffers of the broker connection, which must not be kept alive for one item.
   */
  copyPrefix: (data: Buffer): Buffer => Buffer.from(data.subarray(0, AT_TYPE)),
  /** Names the sender within the conversation, as the key of a Map: 32 bytes as latin1. */
  senderKey: (data: Buffer): string =>
    data.toString('latin1', AT_CONVERSATION, END_CONVERSATION) + data.toString('latin1', AT_USER, END_USER),
  /** Whether two items come from the same sender in the same conversation: then receipts for the later cover the earlier. */
  hasSameSender: (a: Buffer, b: Buffer): boolean =>
    a.compare(b, AT_CONVERSATION, END_CONVERSATION, AT_CONVERSATION, END_CONVERSATION) === 0 &&
    a.compare(b, AT_USER, END_USER, AT_USER, END_USER) === 0,
  /** Builds the finished frame, UTF-8 JSON. */
  frame(data: Buffer, cursor: number): Buffer {
    const typeEnd = AT_TYPE + data[AT_TYPE_LENGTH]!;
    const head = `{"type":"${data.toString('latin1', AT_TYPE, typeEnd)}","cursor":${cursor},`;
    const out = Buffer.allocUnsafe(head.length + data.length - typeEnd);
    data.copy(out, out.write(head, 0, 'latin1'), typeEnd);
    return out;
  },
};
