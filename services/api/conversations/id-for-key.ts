/** Derives the id of a new conversation from an Idempotency-Key. */
import { createHash } from 'node:crypto';
import { uuid7Time } from '../../../shared/ids.ts';

/** The same key of the same person gives the same UUIDv7, so that a repeated request creates no second conversation. */
export function idForKey(user_id: string, key: string): string {
  const h = createHash('sha256').update(`create:${user_id}:${key}`).digest('hex');
  const ms = uuid7Time(user_id).toString(16).padStart(12, '0');
  const variant = ((Number.parseInt(h[3]!, 16) & 3) | 8).toString(16);
  return `${ms.slice(0, 8)}-${ms.slice(8)}-7${h.slice(0, 3)}-${variant}${h.slice(4, 7)}-${h.slice(7, 19)}`;
}
