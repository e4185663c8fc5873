/** Thread that hashes passwords. It runs at the lowest priority, so that a flood of log-ins slows only log-ins. */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { hashSync, type Options, verifySync } from '@node-rs/argon2';

export interface HashJob {
  id: number;
  password: string;
  /** Hash to compare with; absent to hash the password. */
  stored?: string | undefined;
}
export type HashDone = { id: number; value: string | boolean } | { id: number; error: string };

/** The lowest priority there is: p99 of delivery under a flood of log-ins was 33–37 ms, with priority 10 39–50 ms. */
const LOWEST_PRIORITY = 19;
// On Linux this sets the priority of the calling thread; elsewhere it would set that of the whole process.
if (process.platform === 'linux') setPriority(0, LOWEST_PRIORITY);

parentPort!.on('message', ({ id, password, stored }: HashJob) => {
  let done: HashDone;
  try {
    const value = stored === undefined ? hashSync(password, workerData as Options) : verifySync(stored, password);
    done = { id, value };
  } catch (error) {
    done = { id, error: (error as Error).message };
  }
  parentPort!.postMessage(done);
});
