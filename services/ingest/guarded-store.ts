/**
 * Limits how long look-ups in Postgres hold up a partition. A look-up that Postgres refuses is repeated for `timeoutMs`; then it
 * fails, and so do all others at once, until Postgres has answered a probe. Commands that need nothing from Postgres go on
 * meanwhile; the senders of the others hear `unavailable` at once.
 */
import { sleep } from '../../shared/async/sleep.ts';
import { isTransient } from '../../shared/transient.ts';
import type { Store } from './store.ts';

const RETRY_MS = 50;
const PROBE_MS = 250;

class DatabaseUnavailable extends Error {
  override name = 'TimeoutError';
}

export interface GuardedStore extends Store {
  close(): void;
}

/** `probe`: any statement that Postgres answers when it is available. */
export function guardStore(store: Store, probe: () => Promise<unknown>, timeoutMs: number): GuardedStore {
  /** Postgres did not answer in time and has not answered since. */
  let isUnavailable = false;
  let closed = false;

  async function probeUntilAnswered(): Promise<void> {
    while (isUnavailable && !closed) {
      await probe().then(
        () => {
          isUnavailable = false;
        },
        () => sleep(PROBE_MS, { ref: false }),
      );
    }
  }

  async function guard<T>(lookUp: () => Promise<T>): Promise<T> {
    if (isUnavailable) throw new DatabaseUnavailable('Postgres has not answered yet');
    let isLate = false;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        isLate = true;
        reject(new DatabaseUnavailable(`Postgres did not answer within ${timeoutMs} ms`));
      }, timeoutMs);
    });
    const lookUpRepeatedly = async (): Promise<T> => {
      for (;;) {
        try {
          return await lookUp();
        } catch (error) {
          if (isLate || !isTransient(error)) throw error;
          await sleep(RETRY_MS, { ref: false });
        }
      }
    };
    const answer = lookUpRepeatedly();
    // When the deadline wins, a later failure of the look-up has no other handler.
    answer.catch(() => {});
    try {
      return await Promise.race([answer, deadline]);
    } catch (error) {
      if (error instanceof DatabaseUnavailable && !isUnavailable) {
        isUnavailable = true;
        void probeUntilAnswered();
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    position: (partition) => guard(() => store.position(partition)),
    conversations: (ids) => guard(() => store.conversations(ids)),
    people: (ids) => guard(() => store.people(ids)),
    accepted: (keys) => guard(() => store.accepted(keys)),
    payments: (keys) => guard(() => store.payments(keys)),
    close() {
      closed = true;
    },
  };
}
