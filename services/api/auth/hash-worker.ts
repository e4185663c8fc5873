/** The thread that hashes passwords. It gives way to everything else, so that a flood of log-ins slows only log-ins. */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { hashSync, type Options, verifySync } from '@node-rs/argon2';

export interface HashJob {
  id: number;
  password: string;
  /** Absent: hash it. */
  stored?: string | undefined;
}
export type HashDone = { id: number; value: string | boolean } | { id: number; error: string };

/** The lowest there is: with 10, p99 of delivery under a flood of log-ins was 39–50 ms, with this 33–37. */
const BEHIND = 19;
// On Linux this is about the calling thread; elsewhere it would be about the whole process.
if (process.platform === 'linux') setPriority(0, BEHIND);

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
