/**
 * Child processes that can't outlive this one, even when it is killed with SIGKILL: a shell of a few hundred kilobytes
 * holds the other end of a pipe and stops whatever is listed when the pipe closes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

// Signals first, and eight seconds later SIGKILL for what still lives.
const SCRIPT = `trap '' HUP INT TERM
list=''
trash=''
while read -r op pid signal; do
  case "$op" in
    add) list="$list $pid:$signal" ;;
    trash) trash="$pid" ;;
    del) kept=''; for one in $list; do [ "\${one%%:*}" = "$pid" ] || kept="$kept $one"; done; list="$kept" ;;
  esac
done
for one in $list; do kill -s "\${one##*:}" "\${one%%:*}" 2>/dev/null; done
tries=0
while [ $tries -lt 80 ]; do
  alive=''
  for one in $list; do kill -0 "\${one%%:*}" 2>/dev/null && alive=1; done
  [ -z "$alive" ] && break
  sleep 0.1; tries=$((tries + 1))
done
for one in $list; do kill -s KILL "\${one%%:*}" 2>/dev/null; done
[ -n "$trash" ] && rm -rf -- "$trash"`;

const guarded = new Map<number, string>();
let trash: string | undefined;
let shell: ChildProcess | undefined;

function watchdog(): ChildProcess {
  if (shell) return shell;
  const started = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' });
  shell = started;
  started.stdin!.on('error', () => {});
  started.on('error', () => {});
  // It is a child too: somebody may kill it. The next one learns the whole list.
  started.once('exit', () => {
    if (shell === started) shell = undefined;
    if (guarded.size) watchdog();
  });
  for (const [pid, signal] of guarded) started.stdin!.write(`add ${pid} ${signal}\n`);
  if (trash) started.stdin!.write(`trash ${trash}\n`);
  started.unref();
  (started.stdin as Socket).unref();
  return started;
}

/** Stops process `pid` with `signal` (without the SIG) when this process is gone, however it went. */
export function guard(pid: number, signal: 'INT' | 'TERM' | 'QUIT' | 'KILL'): void {
  const dog = watchdog();
  guarded.set(pid, signal);
  dog.stdin!.write(`add ${pid} ${signal}\n`);
}

/** Call it once the process has exited: its number may soon belong to somebody else. */
export function unguard(pid: number): void {
  if (guarded.delete(pid)) shell?.stdin?.write(`del ${pid}\n`);
  letGo();
}

function letGo(): void {
  if (guarded.size || trash) return;
  shell?.stdin?.end();
  shell = undefined;
}

/** A directory without spaces in its name that goes when this process is killed; undefined: none any more. */
export function guardTrash(dir: string | undefined): void {
  trash = dir;
  shell?.stdin?.write(`trash ${dir ?? ''}\n`);
  letGo();
}

/** The processes that are guarded now; empty after a clean stop. */
export const guardedPids = (): number[] => [...guarded.keys()];
