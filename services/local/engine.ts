import type { Exit } from './child.ts';

/** A server that this process started and owns. */
export interface Engine {
  readonly name: string;
  /** With the credentials a client needs, if they belong into the URL. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
  stop(): Promise<Exit>;
}

/** What stops the waiting: trying again can't help. */
export class Hopeless extends Error {}

/** Tries `attempt` every `everyMs` until it returns something; gives up with the last error, or at once when it is Hopeless. */
export async function until<T>(attempt: () => Promise<T | undefined>, timeoutMs: number, everyMs = 20): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  while (Date.now() < deadline) {
    try {
      const value = await attempt();
      if (value !== undefined) return value;
    } catch (error) {
      if (error instanceof Hopeless) throw error;
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  throw last instanceof Error ? last : new Error('timed out');
}
