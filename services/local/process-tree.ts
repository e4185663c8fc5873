/** The supervised processes of one system. They are closed in the reverse order of their start, all of them when one gives up. */
import { type SupervisedProcess, type Supervisor, supervise } from './supervisor.ts';

interface ProcessTreeOptions {
  /** Receives one line per step. */
  onProgress(line: string): void;
  /** Called once, after everything has been closed. */
  onClosed(): void;
}

export class ProcessTree {
  /** Resolves with the reason when the system cannot go on; everything has been closed then. */
  readonly failed: Promise<string>;
  readonly #options: ProcessTreeOptions;
  readonly #processes: [name: string, Supervisor<SupervisedProcess>][] = [];
  readonly #closeFirst: (() => Promise<void>)[] = [];
  readonly #failing: Promise<string>;
  #fail: (reason: string) => void = () => {};
  #closing: Promise<void> | undefined;

  constructor(options: ProcessTreeOptions) {
    this.#options = options;
    this.#failing = new Promise((resolve) => {
      this.#fail = resolve;
    });
    this.failed = this.#failing.then(async (reason) => {
      await this.close();
      return reason;
    });
  }

  /** Starts a process and keeps it running. @throws when its first start fails. */
  async start<T extends SupervisedProcess>(
    name: string,
    start: (previous: T | undefined) => Promise<T>,
  ): Promise<Supervisor<T>> {
    const { onProgress } = this.#options;
    const supervisor = await supervise<T>({ name, start, onProgress, onGiveUp: this.#fail });
    // `close` was called while the process was starting.
    if (this.#closing) await supervisor.close();
    this.#processes.push([name, supervisor]);
    return supervisor;
  }

  /** @returns the result of `work`. @throws as soon as a process has given up, with the reason. */
  async unlessFailed<T>(work: Promise<T>): Promise<T> {
    return await Promise.race([work, this.#failing.then((reason) => Promise.reject(new Error(reason)))]);
  }

  /** Process ids by name. */
  pids(): Record<string, number> {
    return Object.fromEntries(this.#processes.map(([name, { current }]) => [name, current.pid]));
  }

  /** Registers what must end before any process is closed. */
  closeFirst(task: () => Promise<void>): void {
    this.#closeFirst.push(task);
  }

  close(): Promise<void> {
    this.#closing ??= this.#closeAll();
    return this.#closing;
  }

  async #closeAll(): Promise<void> {
    const { onProgress, onClosed } = this.#options;
    for (const task of this.#closeFirst) await task();
    for (const [, supervisor] of this.#processes.toReversed())
      await supervisor.close().catch((error: Error) => onProgress(error.message));
    onClosed();
  }
}
