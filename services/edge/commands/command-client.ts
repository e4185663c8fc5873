/** Keeps what the commands of one connection need: its output, its inbox, their order, and counts of useless frames. */
import type { Config } from '../../../shared/config/index.ts';
import type { Frame } from '../delivery/device-output.ts';

/** The output side of a connection, as commands need it. */
export interface CommandOutput {
  readonly connection_id: string;
  readonly user_id: string;
  readonly device_id: string;
  /** False once the connection is closed or closing: then frames go nowhere. */
  readonly isOpen: boolean;
  send(frame: Frame): void;
  close(code: number, reason: string): void;
  /** Resolves when the output is not full, or is gone. */
  waitForRoom(): Promise<void>;
}
interface Acknowledgeable {
  /** @returns true when the device had not acknowledged as much before */
  acknowledge(cursor: number): boolean;
}

export class CommandClient {
  readonly output: CommandOutput;
  readonly inbox: Acknowledgeable;
  /** Frames that came in all. */
  received = 0;
  /** Frames that were not even objects with a type. */
  malformed = 0;
  readonly #windowMs: number;
  #windowEndsAt = 0;
  #refusedBytes = 0;
  #idleFrames = 0;
  #lastTask: Promise<void> | undefined;

  constructor(
    output: CommandOutput,
    inbox: Acknowledgeable,
    { WS_RATE_LIMIT_WINDOW_SEC }: Pick<Config, 'WS_RATE_LIMIT_WINDOW_SEC'>,
  ) {
    this.output = output;
    this.inbox = inbox;
    this.#windowMs = WS_RATE_LIMIT_WINDOW_SEC * 1_000;
  }

  /** A task of `runInOrder` has not ended. */
  get isBusy(): boolean {
    return this.#lastTask !== undefined;
  }

  /** Runs a task after those that were given before. */
  runInOrder(task: () => Promise<void>): Promise<void> {
    const run = (this.#lastTask ?? Promise.resolve()).then(task);
    const lastTask = run
      .catch(() => {})
      .finally(() => {
        if (this.#lastTask === lastTask) this.#lastTask = undefined;
      });
    this.#lastTask = lastTask;
    return run;
  }

  /** Counts a frame that had to be refused. @returns the bytes of such frames in this window */
  countRefused(bytes: number): number {
    this.#renewWindow();
    this.#refusedBytes += bytes;
    return this.#refusedBytes;
  }

  /** Counts a frame that changed nothing. @returns how many there were in this window */
  countIdle(): number {
    this.#renewWindow();
    return ++this.#idleFrames;
  }

  #renewWindow(): void {
    const now = Date.now();
    if (now < this.#windowEndsAt) return;
    this.#windowEndsAt = now + this.#windowMs;
    this.#refusedBytes = this.#idleFrames = 0;
  }
}

/** The `id` field that an answer repeats, as JSON with a comma behind it; empty where the command has none. */
export const echoId = (id: unknown): string =>
  typeof id === 'string' && id.length <= 64 ? `"id":${JSON.stringify(id)},` : '';
