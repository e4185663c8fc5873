/** Makes ids, and hashes them: a conversation to its partition, a user to the shard of their inbox. */
import { hash, randomFillSync } from 'node:crypto';

const pool = Buffer.allocUnsafe(4096);
let used = pool.length;
let lastMs = 0;
let counter = 0;

function takeRandomBytes(bytes: number): Buffer {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.subarray(used - bytes, used);
}

function formatUuid(bytes: Buffer): string {
  const h = bytes.toString('hex', 0, 16);
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

/** A UUIDv7 (RFC 9562 §5.7), strictly increasing within this process (12-bit counter, method 1). */
export function uuid7(now = Date.now()): string {
  if (now > lastMs) {
    lastMs = now;
    counter = takeRandomBytes(2).readUInt16BE() & 0x3ff;
  } else if (++counter > 0xfff) {
    lastMs += 1;
    counter = 0;
  }
  const out = Buffer.allocUnsafe(16);
  out.writeUIntBE(lastMs, 0, 6);
  out.writeUInt16BE(0x7000 | counter, 6);
  takeRandomBytes(8).copy(out, 8);
  out[8] = (out[8]! & 0x3f) | 0x80;
  return formatUuid(out);
}

/** @returns the milliseconds of a UUIDv7; NaN for another text. */
export function uuid7Time(id: string): number {
  return id.length === 36 && id.charCodeAt(14) === 55
    ? Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
    : Number.NaN;
}

/**
 * Derives the id of the direct conversation of two people: the same from either side and on every machine, so that two first
 * messages at the same time cannot make two conversations. A valid UUIDv7: time of the younger account, 74 bits of SHA-256 of
 * the pair.
 */
export function directConversationId(a: string, b: string): string {
  const [low, high] = a < b ? [a, b] : [b, a];
  const out = hash('sha256', `direct:${low}:${high}`, 'buffer');
  out.writeUIntBE(Math.max(uuid7Time(a), uuid7Time(b)), 0, 6);
  out[6] = (out[6]! & 0x0f) | 0x70;
  out[8] = (out[8]! & 0x3f) | 0x80;
  return formatUuid(out);
}

/** Derives a valid UUIDv7 from a time and a text: the same input gives the same id, with 74 bits of SHA-256. */
export function derivedId(ms: number, text: string): string {
  const out = hash('sha256', text, 'buffer');
  out.writeUIntBE(ms, 0, 6);
  out[6] = (out[6]! & 0x0f) | 0x70;
  out[8] = (out[8]! & 0x3f) | 0x80;
  return formatUuid(out);
}

/** FNV-1a, 32 bits. It must never change: stored data lies where it points. */
function hash32(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

export const partitionOf = (conversationId: string, partitions: number): number => hash32(conversationId) % partitions;
export const shardOf = (userId: string, shards: number): number => hash32(userId) % shards;
