/** Brings back what died, with back-off; gives up when it dies again and again. */
import type { Exit } from './child.ts';

const GIVE_UP_AFTER = 5;
const WITHIN_MS = 60_000;
const BACKOFF_MS = [50, 200, 500, 1_000, 2_000];

export interface Kept {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  stop(): Promise<unknown>;
}

export interface Supervisor<T extends Kept> {
  readonly now: T;
  /** Stops what runs now, so that it is started again; not counted as a failure. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface KeeperOptions<T extends Kept> {
  name: string;
  /** `previous` is what died: its port is used again. */
  start(previous: T | undefined): Promise<T>;
  /** Progress, one line. */
  say(line: string): void;
  /** It failed five times within a minute: the whole tree must stop. */
  gaveUp(reason: string): void;
}

/** Starts it and keeps it running until `stop`. Rejects when the first start fails. */
export async function keep<T extends Kept>({ name, start, say, gaveUp }: KeeperOptions<T>): Promise<Supervisor<T>> {
  let now = await start(undefined);
  const stopping = new AbortController();
  const failures: number[] = [];
  let reason = '';
  let asked = false;

  const watch = async (): Promise<void> => {
    for (;;) {
      const exit = await now.exited;
      if (stopping.signal.aborted) return;
      reason = exit.signal ? `killed by ${exit.signal}` : `exit code ${exit.code}`;
      if (!asked) say(`${name} (pid ${now.pid}) ended: ${reason}`);
      if (!(await again())) return;
    }
  };
  const again = async (): Promise<boolean> => {
    for (;;) {
      const since = Date.now() - WITHIN_MS;
      while (failures.length && failures[0]! < since) failures.shift();
      if (!asked) failures.push(Date.now());
      asked = false;
      if (failures.length >= GIVE_UP_AFTER) {
        gaveUp(`${name} failed ${GIVE_UP_AFTER} times within a minute; the last time: ${reason}`);
        return false;
      }
      await new Promise((resolve) => setTimeout(resolve, BACKOFF_MS[failures.length - 1] ?? BACKOFF_MS[0]));
      if (stopping.signal.aborted) return false;
      try {
        now = await start(now);
      } catch (error) {
        reason = (error as Error).message;
        continue;
      }
      if (stopping.signal.aborted) await now.stop();
      else say(`${name} is back (pid ${now.pid})`);
      return !stopping.signal.aborted;
    }
  };
  const watching = watch();
  return {
    get now() {
      return now;
    },
    async restart() {
      asked = true;
      await now.stop();
    },
    async stop() {
      stopping.abort();
      await now.stop();
      await watching;
    },
  };
}
