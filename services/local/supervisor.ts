/** Restarts a process that ended, with growing pauses, and gives up when it ends again and again. */
import { sleep } from '../../shared/async/sleep.ts';
import type { Exit } from './child.ts';

const GIVE_UP_AFTER = 5;
const WITHIN_MS = 60_000;
const BACKOFF_MS = [50, 200, 500, 1_000, 2_000];

export interface SupervisedProcess {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  close(): Promise<unknown>;
}

export interface Supervisor<T extends SupervisedProcess> {
  /** The process that runs now, or ran last. */
  readonly current: T;
  /** Closes the current process, so that it is started again. This does not count as a failure. */
  restart(): Promise<void>;
  close(): Promise<void>;
}

interface SuperviseOptions<T extends SupervisedProcess> {
  name: string;
  /** `previous` is the process that ended: the next one uses its port again. */
  start(previous: T | undefined): Promise<T>;
  /** Receives one line per step. */
  onProgress(line: string): void;
  /** Called when the process failed five times within a minute: the whole system must be closed. */
  onGiveUp(reason: string): void;
}

/** Starts a process and keeps it running until `close`. @throws when the first start fails. */
export async function supervise<T extends SupervisedProcess>({
  name,
  start,
  onProgress,
  onGiveUp,
}: SuperviseOptions<T>): Promise<Supervisor<T>> {
  let current = await start(undefined);
  const closing = new AbortController();
  const failures: number[] = [];
  let reason = '';
  let restartRequested = false;

  const watch = async (): Promise<void> => {
    for (;;) {
      const exit = await current.exited;
      if (closing.signal.aborted) return;
      reason = exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`;
      if (!restartRequested) onProgress(`${name} (pid ${current.pid}) ended: ${reason}`);
      if (!(await startAgain())) return;
    }
  };
  /** @returns false when the process is not to run any more. */
  const startAgain = async (): Promise<boolean> => {
    for (;;) {
      const since = Date.now() - WITHIN_MS;
      while (failures.length && failures[0]! < since) failures.shift();
      if (!restartRequested) failures.push(Date.now());
      restartRequested = false;
      if (failures.length >= GIVE_UP_AFTER) {
        onGiveUp(`${name} failed ${GIVE_UP_AFTER} times within a minute; the last time: ${reason}`);
        return false;
      }
      await sleep(BACKOFF_MS[failures.length - 1] ?? BACKOFF_MS[0]!);
      if (closing.signal.aborted) return false;
      try {
        current = await start(current);
      } catch (error) {
        reason = (error as Error).message;
        continue;
      }
      if (closing.signal.aborted) await current.close();
      else onProgress(`${name} is back (pid ${current.pid})`);
      return !closing.signal.aborted;
    }
  };
  const watching = watch();
  return {
    get current() {
      return current;
    },
    async restart() {
      restartRequested = true;
      await current.close();
    },
    async close() {
      closing.abort();
      await current.close();
      await watching;
    },
  };
}
