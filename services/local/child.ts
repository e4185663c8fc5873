import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { guard, unguard } from './watchdog.ts';

const LOG_MAX_BYTES = 16 << 20;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  readonly exited: Promise<Exit>;
  alive(): boolean;
  signal(signal: NodeJS.Signals): void;
  /** Asks with `signal`, insists with SIGKILL after `graceMs`. */
  stop(signal: NodeJS.Signals, graceMs: number): Promise<Exit>;
}

export interface ChildOptions {
  /** What the watchdog sends when this process is gone. */
  orphan: 'INT' | 'TERM' | 'QUIT' | 'KILL';
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  uid?: number;
  gid?: number;
  /** Where output goes; `inherit` for this process's own. */
  log: string | 'inherit';
  ipc?: boolean;
}

/** Starts a guarded process in a session of its own, so that Ctrl-C reaches only the parent, which stops all in order. */
export function startChild(command: string, args: string[], options: ChildOptions): Child {
  const fd = options.log === 'inherit' ? undefined : openLog(options.log);
  const out = fd ?? 'inherit';
  const stdio: StdioOptions = options.ipc ? ['ignore', out, out, 'ipc'] : ['ignore', out, out];
  const { uid, gid } = options;
  const child = spawn(command, args, {
    stdio,
    detached: true,
    env: options.env ?? process.env,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(uid === undefined || gid === undefined ? {} : { uid, gid }),
  });
  if (fd !== undefined) closeSync(fd);
  const exited = new Promise<Exit>((resolve) => {
    child.once('error', () => resolve({ code: 127, signal: null }));
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const pid = child.pid ?? 0;
  if (pid) {
    guard(pid, options.orphan);
    exited.then(() => unguard(pid));
  }
  const alive = (): boolean => pid > 0 && child.exitCode === null && child.signalCode === null;
  return {
    pid,
    process: child,
    exited,
    alive,
    signal: (signal) => {
      if (alive()) child.kill(signal);
    },
    async stop(signal, graceMs) {
      if (alive()) child.kill(signal);
      const timer = setTimeout(() => alive() && child.kill('SIGKILL'), graceMs);
      try {
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function openLog(path: string): number {
  try {
    if (statSync(path).size > LOG_MAX_BYTES) renameSync(path, `${path}.1`);
  } catch {
    // No log yet.
  }
  return openSync(path, 'a', 0o600);
}

/** The last lines of a log, for the message of an error. */
export function tail(path: string, lines = 8): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}

/** Ends a process that a crash of this one's predecessor left behind; `marker` must stand in its command line. */
export async function endStray(pidFile: string, marker: string): Promise<void> {
  // Without /proc it can't be told whose the number is: leave it to the engine, which looks at the file as well.
  if (!existsSync('/proc/self/cmdline')) return;
  const pid = firstNumber(pidFile);
  if (pid && commandOf(pid).includes(marker)) {
    process.kill(pid, 'SIGINT');
    for (let i = 0; i < 200 && commandOf(pid).includes(marker); i++) await new Promise((r) => setTimeout(r, 50));
    if (commandOf(pid).includes(marker)) throw new Error(`process ${pid} still uses ${marker} and does not stop`);
  }
  rmSync(pidFile, { force: true });
}

function firstNumber(path: string): number {
  try {
    return Number.parseInt(readFileSync(path, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}
