/** Wraps an engine so that a test can kill and restart it on the same port. */
import { existsSync } from 'node:fs';
import type { Engine } from '../../services/local/engine.ts';

/** A server that a test may kill and start again; it comes back on its port with its data. */
export class TestEngine {
  readonly #start: (port: number) => Promise<Engine>;
  readonly #pids = new Set<number>();
  #now: Engine | undefined;

  constructor(start: (port: number) => Promise<Engine>) {
    this.#start = start;
  }

  get url(): string {
    return this.#engine.url;
  }
  get pid(): number {
    return this.#engine.pid;
  }
  get #engine(): Engine {
    if (!this.#now) throw new Error('not started');
    return this.#now;
  }

  async start(): Promise<void> {
    this.#now = await this.#start(this.#now?.port ?? 0);
    this.#pids.add(this.#now.pid);
  }

  signal(signal: NodeJS.Signals): void {
    this.#engine.signal(signal);
  }

  /** SIGKILL; resolves when it is gone. It stays down until `restart`. */
  async kill9(): Promise<void> {
    this.#engine.signal('SIGKILL');
    await this.#engine.exited;
  }

  /** Starts it again on its port; stops it first when it runs. */
  async restart(): Promise<void> {
    await this.#engine.close();
    await this.start();
  }

  async stop(): Promise<void> {
    await this.#now?.close();
  }

  /** @returns processes that should have ended and still run */
  async leftovers(): Promise<string[]> {
    return [...this.#pids].filter((pid) => existsSync(`/proc/${pid}`)).map((pid) => `process ${pid}`);
  }
}
