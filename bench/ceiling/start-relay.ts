/** Starts the bare relay as a process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const RELAY = fileURLToPath(new URL('./relay.ts', import.meta.url));

export interface Relay {
  edge: string;
  pid: number;
  close(): Promise<void>;
}

/** Resolves when the relay listens. The relay ends with this process. */
export async function startRelay(execArgv: string[] = []): Promise<Relay> {
  const child: ChildProcess = fork(RELAY, { execArgv });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return {
    edge: `ws://127.0.0.1:${port}/v1/ws`,
    pid: child.pid!,
    async close() {
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}
