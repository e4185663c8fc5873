/** Runs modules of bench/ as processes of their own and receives their messages. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Starts a module, e.g. `./webhook-receiver.ts`. It must end when this process disconnects. */
export const forkModule = (file: string, ...args: string[]): ChildProcess =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args);

/** Resolves with the next message of a child process. */
export const nextMessage = <T>(child: ChildProcess): Promise<T> =>
  new Promise((resolve) => child.once('message', resolve));
