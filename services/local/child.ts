/** Starts child processes that end with this process, and reads their logs. */
import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { guardProcess, unguardProcess } from './watchdog.ts';

/** A longer log is moved aside when its process starts. */
const LOG_MAX_BYTES = 16 << 20;

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  readonly exited: Promise<Exit>;
  isAlive(): boolean;
  signal(signal: NodeJS.Signals): void;
  /** Sends `signal`, and SIGKILL when the process still runs after `graceMs`. */
  close(signal: NodeJS.Signals, graceMs: number): Promise<Exit>;
}

export interface ChildOptions {
  /** The signal that the watchdog sends when this process is gone. */
  orphan: 'INT' | 'TERM' | 'QUIT' | 'KILL';
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  uid?: number;
  gid?: number;
  /** The file for its output; `inherit` for this process's own output. */
  log: string | 'inherit';
  ipc?: boolean;
}

/** Starts a guarded process in a session of its own: Ctrl-C reaches only this process, which closes all in order. */
export function startChild(command: string, args: string[], options: ChildOptions): Child {
  const fd = options.log === 'inherit' ? undefined : openLogFile(options.log);
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
    guardProcess(pid, options.orphan);
    exited.then(() => unguardProcess(pid));
  }
  const isAlive = (): boolean => pid > 0 && child.exitCode === null && child.signalCode === null;
  return {
    pid,
    process: child,
    exited,
    isAlive,
    signal: (signal) => {
      if (isAlive()) child.kill(signal);
    },
    async close(signal, graceMs) {
      if (isAlive()) child.kill(signal);
      const timer = setTimeout(() => isAlive() && child.kill('SIGKILL'), graceMs);
      try {
        return await exited;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

function openLogFile(path: string): number {
  try {
    if (statSync(path).size > LOG_MAX_BYTES) renameSync(path, `${path}.1`);
  } catch {
    // There is no log yet.
  }
  return openSync(path, 'a', 0o600);
}

/** @returns the last lines of a log, for the message of an error. */
export function lastLines(path: string, lines = 8): string {
  try {
    return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  } catch {
    return '';
  }
}
