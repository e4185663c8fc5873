/** Decides which items wake a device, and what follows from the result of an attempt. Pure functions. */
import { item } from '../../nats/inbox/item.ts';
import type { Config } from '../../shared/config/index.ts';
import type { WakeSchedule } from './away-device.ts';
import type { SendResult } from './provider-reply.ts';

const WAKING = new Set(['message.created', 'payment.updated', 'call.signal']);

/** Whether an inbox item is worth a wake-up for a device of that user: caused by another user, and not expired. */
export function isWakingItem(data: Buffer, user_id: string, now: number): boolean {
  if (!item.valid(data) || !WAKING.has(item.type(data)) || item.userId(data) === user_id) return false;
  const expires = item.expiresAt(data);
  return expires === 0 || expires > now;
}

export type WakeRules = Pick<Config, 'PUSH_REPEAT_SEC' | 'PUSH_MAX_WAKES' | 'PUSH_MAX_TRIES'>;

const RETRY_MS = 15_000;
const RETRY_CAP_MS = 3_600_000;

/**
 * Returns the schedule that follows from an attempt. After a wake-up the device is woken again more and more rarely; after a
 * failure the attempt is repeated, never before the provider asked for. `random`: 0 to 1.
 */
export function scheduleAfter(
  before: { wakes: number; tries: number },
  result: SendResult,
  rules: WakeRules,
  random = Math.random(),
): WakeSchedule {
  if (result.is === 'ok') {
    const wakes = before.wakes + 1;
    const isRepeated = wakes < rules.PUSH_MAX_WAKES;
    return { wakes, tries: 0, in_ms: isRepeated ? rules.PUSH_REPEAT_SEC * 1_000 * 4 ** (wakes - 1) : undefined };
  }
  const tries = before.tries + 1;
  // Counted as woken, so that it is not tried again in this absence.
  if (tries >= rules.PUSH_MAX_TRIES) return { wakes: Math.max(1, before.wakes), tries, in_ms: undefined };
  const askedMs = result.is === 'failed' ? (result.retry_after_ms ?? 0) : 0;
  const pauseMs = Math.min(RETRY_CAP_MS, Math.max(askedMs, RETRY_MS * 2 ** (tries - 1)));
  return { wakes: before.wakes, tries, in_ms: Math.round(pauseMs * (0.8 + 0.4 * random)) };
}
