/** Waits for a state, never for a time. */
import { setTimeout as sleep } from 'node:timers/promises';

/** A test waits this long for a state before it fails; a state that comes costs nothing. */
export const PATIENCE_MS = 90_000;

/** @throws when `condition` is not true within `timeoutMs` */
export async function until(condition: () => boolean | Promise<boolean>, timeoutMs = PATIENCE_MS): Promise<void> {
  for (const end = Date.now() + timeoutMs; !(await condition()); ) {
    if (Date.now() > end) throw new Error(`not true after ${timeoutMs} ms: ${condition}`);
    await sleep(5);
  }
}
