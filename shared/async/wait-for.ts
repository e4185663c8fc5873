import { sleep } from './sleep.ts';

/** Ends `waitFor` at once, because another attempt cannot succeed either. */
export class UnrecoverableError extends Error {
  override name = 'UnrecoverableError';
}

/**
 * Repeats `attempt` every `everyMs` until it returns something other than undefined.
 * @throws the last error of `attempt` after `timeoutMs`, or an UnrecoverableError as soon as `attempt` throws one.
 */
export async function waitFor<T>(attempt: () => Promise<T | undefined>, timeoutMs: number, everyMs = 20): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let lastError: unknown;
  while (Date.now() < deadline) {
    try {
      const value = await attempt();
      if (value !== undefined) return value;
    } catch (error) {
      if (error instanceof UnrecoverableError) throw error;
      lastError = error;
    }
    await sleep(everyMs);
  }
  throw lastError instanceof Error ? lastError : new Error(`timed out after ${timeoutMs} ms`);
}
