/**
 * An inbox item: what one recipient gets, ready to be sent. The edge reads the fixed prefix and never the frame.
 *
 * | offset | bytes | |
 * |---|---|---|
 * | 0 | 1 | layout, 1 |
 * | 1 | 1 | flags: 1 the sender wants to hear `delivered` |
 * | 2 | 8 | cursor base, f64: cursor = base + stream sequence (see lineage.ts) |
 * | 10 | 8 | expiry, f64 ms since 1970; 0 never |
 * | 18 | 8 | seq, f64 |
 * | 26 | 16 | device that caused it (it gets no copy); zeros for none |
 * | 42 | 16 | conversation |
 * | 58 | 16 | message; zeros for none |
 * | 74 | 16 | user who caused it |
 * | 90 | 1+n | length and text of the frame's type |
 * | … | | the frame after `"cursor":N,` up to its end |
 */
export const ITEM_LAYOUT = 1;
export const WANTS_DELIVERED = 1;
const PREFIX = 91;

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

/** The 16 bytes of a UUID; an empty text gives zeros. */
export function uuidBytes(id: string): Buffer {
  const out = Buffer.alloc(16);
  if (id) out.write(id.replaceAll('-', ''), 'hex');
  return out;
}
export function uuidText(bytes: Buffer, at = 0): string {
  const h = bytes.toString('hex', at, at + 16);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

function writeUuid(out: Buffer, id: string, at: number): void {
  if (!id) {
    out.fill(0, at, at + 16);
    return;
  }
  out.write(id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 18) + id.slice(19, 23) + id.slice(24), at, 16, 'hex');
}

/** Joins prefix and the rest of the frame (several pieces, the last one closing it). */
export function encodeItem(head: ItemHead, rest: Buffer[]): Buffer {
  let length = PREFIX + head.type.length;
  for (const part of rest) length += part.length;
  const out = Buffer.allocUnsafe(length);
  out[0] = ITEM_LAYOUT;
  out[1] = head.flags;
  out.writeDoubleLE(head.base, 2);
  out.writeDoubleLE(head.expires_at, 10);
  out.writeDoubleLE(head.seq, 18);
  writeUuid(out, head.device_id, 26);
  writeUuid(out, head.conversation_id, 42);
  writeUuid(out, head.message_id, 58);
  writeUuid(out, head.user_id, 74);
  out[90] = head.type.length;
  let at = PREFIX + out.write(head.type, PREFIX, 'latin1');
  for (const part of rest) at += part.copy(out, at);
  return out;
}

/** Readers of single fields: the edge looks at few of them, and at most items at none but the first. */
export const item = {
  valid: (data: Buffer): boolean => data.length > PREFIX && data[0] === ITEM_LAYOUT,
  wantsDelivered: (data: Buffer): boolean => (data[1]! & WANTS_DELIVERED) !== 0,
  base: (data: Buffer): number => data.readDoubleLE(2),
  expiresAt: (data: Buffer): number => data.readDoubleLE(10),
  seq: (data: Buffer): number => data.readDoubleLE(18),
  /** `device` as 16 bytes. */
  isFromDevice: (data: Buffer, device: Buffer): boolean => data.compare(device, 0, 16, 26, 42) === 0,
  type: (data: Buffer): string => data.toString('latin1', PREFIX, PREFIX + data[90]!),
  conversationId: (data: Buffer): string => uuidText(data, 42),
  messageId: (data: Buffer): string => uuidText(data, 58),
  userId: (data: Buffer): string => uuidText(data, 74),
  /** The finished frame, UTF-8 JSON. */
  frame(data: Buffer, cursor: number): Buffer {
    const typeEnd = PREFIX + data[90]!;
    const head = `{"type":"${data.toString('latin1', PREFIX, typeEnd)}","cursor":${cursor},`;
    const out = Buffer.allocUnsafe(head.length + data.length - typeEnd);
    data.copy(out, out.write(head, 0, 'latin1'), typeEnd);
    return out;
  },
};
