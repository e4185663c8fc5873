/**
 * Look-ups in Postgres that never hold up a partition for long. A look-up that Postgres refuses is made again until
 * `timeoutMs` are over; then it fails, and so do all others at once, until Postgres has answered a probe. Commands that
 * need nothing from Postgres go on meanwhile; the senders of the others hear `unavailable` at once.
 */
import { isTransient } from '../../shared/transient.ts';
import type { Store } from './store.ts';

const RETRY_MS = 50;
const PROBE_MS = 250;

export class DatabaseUnavailable extends Error {
  override name = 'TimeoutError';
}

export interface GuardedStore extends Store {
  /** Postgres did not answer in time and has not answered since. */
  readonly isAway: boolean;
  close(): void;
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms).unref());

/** `probe`: any statement that Postgres answers when it is there. */
export function guardStore(store: Store, probe: () => Promise<unknown>, timeoutMs: number): GuardedStore {
  let away = false;
  let closed = false;

  async function untilItAnswers(): Promise<void> {
    while (away && !closed) {
      await probe().then(
        () => {
          away = false;
        },
        () => pause(PROBE_MS),
      );
    }
  }

  async function ask<T>(look: () => Promise<T>): Promise<T> {
    if (away) throw new DatabaseUnavailable('Postgres has not answered yet');
    let late = false;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late = true;
        reject(new DatabaseUnavailable(`Postgres did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    const answer = async (): Promise<T> => {
      for (;;) {
        try {
          return await look();
        } catch (error) {
          if (late || !isTransient(error)) throw error;
          await pause(RETRY_MS);
        }
      }
    };
    const answered = answer();
    answered.catch(() => {});
    try {
      return await Promise.race([answered, deadline]);
    } catch (error) {
      if (error instanceof DatabaseUnavailable && !away) {
        away = true;
        void untilItAnswers();
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    get isAway() {
      return away;
    },
    position: (partition) => ask(() => store.position(partition)),
    conversations: (ids) => ask(() => store.conversations(ids)),
    people: (ids) => ask(() => store.people(ids)),
    accepted: (keys) => ask(() => store.accepted(keys)),
    payments: (keys) => ask(() => store.payments(keys)),
    close() {
      closed = true;
    },
  };
}
