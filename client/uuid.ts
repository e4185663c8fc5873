/** Makes UUIDv7 (RFC 9562 §5.7), in browsers too: `shared/ids.ts` needs node:crypto. */
const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));
const pool = new Uint8Array(4096);
let usedBytes = pool.length;
let lastMs = 0;
let counter = 0;

/** Reserves random bytes. @returns their position in `pool` */
function takeRandom(bytes: number): number {
  if (usedBytes + bytes > pool.length) {
    crypto.getRandomValues(pool);
    usedBytes = 0;
  }
  usedBytes += bytes;
  return usedBytes - bytes;
}

/** Returns a new id: 48 bits of milliseconds, a 12-bit counter, 62 random bits. Ids of one process strictly increase. */
export function uuid7(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    const at = takeRandom(2);
    counter = ((pool[at]! << 8) | pool[at + 1]!) & 0x3ff;
  } else if (++counter > 0xfff) {
    lastMs += 1;
    counter = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const at = takeRandom(8);
  const hexAt = (i: number): string => HEX[pool[at + i]!]!;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${HEX[(pool[at]! & 0x3f) | 0x80]}${hexAt(1)}-${hexAt(2)}${hexAt(3)}${hexAt(4)}${hexAt(5)}${hexAt(6)}${hexAt(7)}`;
}
