/** Ends the engine that a crashed predecessor of this process left running. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { sleep } from '../../shared/async/sleep.ts';

const POLL_MS = 50;
const POLLS = 200;

/**
 * Ends the process whose id `pidFile` holds, if its command line contains `marker`, and removes the file.
 * @throws when the process does not end.
 */
export async function endStrayProcess(pidFile: string, marker: string): Promise<void> {
  // Without /proc the owner of the process id is unknown. The engine looks at its pid file itself.
  if (!existsSync('/proc/self/cmdline')) return;
  const pid = readPid(pidFile);
  if (pid && readCommandLine(pid).includes(marker)) {
    process.kill(pid, 'SIGINT');
    for (let i = 0; i < POLLS && readCommandLine(pid).includes(marker); i++) await sleep(POLL_MS);
    if (readCommandLine(pid).includes(marker))
      throw new Error(`process ${pid} still uses ${marker} and does not end: end it, then start again`);
  }
  rmSync(pidFile, { force: true });
}

function readPid(path: string): number {
  try {
    return Number.parseInt(readFileSync(path, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}

function readCommandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
