/** `npm start` as a real process, with what it printed. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { guardProcess, unguardProcess } from '../../services/local/watchdog.ts';

const START = fileURLToPath(new URL('../../services/start.ts', import.meta.url));
const READY_MS = 180_000;

export class StartProcess {
  output = '';
  addresses: Record<string, string> = {};
  readonly dataDir: string;
  readonly #env: NodeJS.ProcessEnv;
  #child: ChildProcess | undefined;
  #exited: Promise<number | NodeJS.Signals | null> | undefined;

  constructor(dataDir: string, env: Record<string, string>) {
    this.dataDir = dataDir;
    this.#env = {
      PATH: process.env.PATH,
      DATA_DIR: dataDir,
      PORT: '0',
      EDGE_PORT: '0',
      LOG_LEVEL: 'error',
      DURABILITY: 'fast',
      ...env,
    };
  }

  run(args: string[] = []): void {
    const child = spawn(process.execPath, [START, ...args], { env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.#child = child;
    guardProcess(child.pid!, 'TERM');
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    }
    this.#exited = new Promise((resolve) => {
      child.once('exit', () => unguardProcess(child.pid!));
      child.once('close', (code, signal) => resolve(code ?? signal));
    });
  }

  get pid(): number {
    return this.#child!.pid!;
  }
  get ended(): boolean {
    return this.#child!.exitCode !== null || this.#child!.signalCode !== null;
  }

  /** Resolves with the printed addresses once it said that it is ready. */
  async waitUntilReady(): Promise<Record<string, string>> {
    if (!this.#child) this.run();
    const deadline = Date.now() + READY_MS;
    while (!/^ready,/m.test(this.output)) {
      if (this.ended || Date.now() > deadline) throw new Error(`not ready:\n${this.output}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (const [, name, url] of this.output.matchAll(/^(api|edge|nats|postgres) +(\S+:\/\/\S+)$/gm))
      this.addresses[name!] = url!;
    return this.addresses;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child?.kill(signal);
  }

  /** The exit code, or the signal that ended it. */
  async waitForExit(): Promise<number | NodeJS.Signals | null> {
    if (!this.#child) this.run();
    return (await this.#exited)!;
  }

  async stop(): Promise<void> {
    if (!this.#child || this.ended) return;
    this.kill('SIGTERM');
    await this.#exited;
  }
}

/** Process ids below `pid`, those with `part` in their command line. */
export function descendants(pid: number, part = ''): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const stat = text(`/proc/${name}/stat`);
    if (stat) parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const below = (one: number): boolean => {
    const parent = parents.get(one);
    return parent === pid || (parent !== undefined && parent > 1 && below(parent));
  };
  return [...parents.keys()].filter(
    (one) => below(one) && text(`/proc/${one}/cmdline`).replaceAll('\0', ' ').includes(part),
  );
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** The status of GET /ready, or 0 while nobody answers. */
export async function readyStatus(base: string): Promise<number> {
  try {
    return (await fetch(new URL('/ready', base), { signal: AbortSignal.timeout(2_000) })).status;
  } catch {
    return 0;
  }
}
