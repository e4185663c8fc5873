/**
 * Ends child processes when this process is gone, even after SIGKILL: a shell of a few hundred kilobytes holds the other end
 * of a pipe, and ends the listed processes when the pipe closes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';

// First each process gets its signal. Those that are still alive after eight seconds get SIGKILL.
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

function startShell(): ChildProcess {
  if (shell) return shell;
  const started = spawn('/bin/sh', ['-c', SCRIPT], { stdio: ['pipe', 'ignore', 'ignore'], detached: true, cwd: '/' });
  shell = started;
  started.stdin!.on('error', () => {});
  started.on('error', () => {});
  // The shell may be killed as well. The next one is given the whole list.
  started.once('exit', () => {
    if (shell === started) shell = undefined;
    if (guarded.size) startShell();
  });
  for (const [pid, signal] of guarded) started.stdin!.write(`add ${pid} ${signal}\n`);
  if (trash) started.stdin!.write(`trash ${trash}\n`);
  started.unref();
  (started.stdin as Socket).unref();
  return started;
}

/** Has process `pid` ended with `signal` (without the SIG) when this process is gone, for whatever reason. */
export function guardProcess(pid: number, signal: 'INT' | 'TERM' | 'QUIT' | 'KILL'): void {
  const { stdin } = startShell();
  guarded.set(pid, signal);
  stdin!.write(`add ${pid} ${signal}\n`);
}

/** Takes a process off the list. To be called once it has exited: another process may soon get its id. */
export function unguardProcess(pid: number): void {
  if (guarded.delete(pid)) shell?.stdin?.write(`del ${pid}\n`);
  endIdleShell();
}

function endIdleShell(): void {
  if (guarded.size || trash) return;
  shell?.stdin?.end();
  shell = undefined;
}

/** Has a directory (no spaces in its name) removed when this process is killed; undefined for no directory any more. */
export function guardTemporaryDir(dir: string | undefined): void {
  trash = dir;
  shell?.stdin?.write(`trash ${dir ?? ''}\n`);
  endIdleShell();
}
