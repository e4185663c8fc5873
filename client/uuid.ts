/** UUIDv7 (RFC 9562 §5.7) for browsers too: `shared/ids.ts` leans on node:crypto. */
const HEX = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));
const pool = new Uint8Array(4096);
let used = pool.length;
let lastMs = 0;
let counter = 0;

function randomAt(bytes: number): number {
  if (used + bytes > pool.length) {
    crypto.getRandomValues(pool);
    used = 0;
  }
  used += bytes;
  return used - bytes;
}

/** Strictly increasing within this process: 48 bits of milliseconds, a 12-bit counter, 62 random bits. */
export function uuid7(): string {
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    const at = randomAt(2);
    counter = ((pool[at]! << 8) | pool[at + 1]!) & 0x3ff;
  } else if (++counter > 0xfff) {
    lastMs += 1;
    counter = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const at = randomAt(8);
  const h = (i: number): string => HEX[pool[at + i]!]!;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter.toString(16).padStart(3, '0')}-${HEX[(pool[at]! & 0x3f) | 0x80]}${h(1)}-${h(2)}${h(3)}${h(4)}${h(5)}${h(6)}${h(7)}`;
}
