/** What push decides: which items wake a device, and what follows from how an attempt ended. Pure. */
import { item } from '../../nats/inbox/item.ts';
import type { SendResult } from './provider-reply.ts';

const WAKING = new Set(['message.created', 'payment.updated', 'call.signal']);

/** Whether an inbox item is worth a wake-up for a device of that user: something of somebody else, and not over. */
export function wakes(data: Buffer, user_id: string, now: number): boolean {
  if (!item.valid(data) || !WAKING.has(item.type(data)) || item.userId(data) === user_id) return false;
  const expires = item.expiresAt(data);
  return expires === 0 || expires > now;
}

export interface Schedule {
  wakes: number;
  tries: number;
  /** In how many ms to look again; undefined: not until the device has been here. */
  in_ms: number | undefined;
}
export interface Rules {
  PUSH_REPEAT_SEC: number;
  PUSH_MAX_WAKES: number;
  PUSH_MAX_TRIES: number;
}
const RETRY_MS = 15_000;
const RETRY_MOST_MS = 3_600_000;

/** `random`: 0 to 1. */
export function next(
  before: { wakes: number; tries: number },
  sent: SendResult,
  rules: Rules,
  random = Math.random(),
): Schedule {
  if (sent.is === 'ok') {
    const wakes = before.wakes + 1;
    const again = wakes < rules.PUSH_MAX_WAKES;
    return { wakes, tries: 0, in_ms: again ? rules.PUSH_REPEAT_SEC * 1_000 * 4 ** (wakes - 1) : undefined };
  }
  const tries = before.tries + 1;
  // As if it had been woken: not again in this absence.
  if (tries >= rules.PUSH_MAX_TRIES) return { wakes: Math.max(1, before.wakes), tries, in_ms: undefined };
  const asked = sent.is === 'failed' ? (sent.retry_after_ms ?? 0) : 0;
  const pause = Math.min(RETRY_MOST_MS, Math.max(asked, RETRY_MS * 2 ** (tries - 1)));
  return { wakes: before.wakes, tries, in_ms: Math.round(pause * (0.8 + 0.4 * random)) };
}
