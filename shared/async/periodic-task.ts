/** Runs a task at an interval, one run at a time. */
export interface PeriodicTask {
  /** Runs the task now. A call during a run shares that run. Never rejects: errors go to `onError`. */
  run(): Promise<void>;
  /** Runs the task as soon as possible: during a run, once more after it. Resolves when that run has ended. */
  runAgain(): Promise<void>;
  /** Stops the timer and waits for the run that is under way. */
  close(): Promise<void>;
}

interface PeriodicTaskOptions {
  /** Time between the beginnings of two runs, ms. A run that takes longer delays the next one. */
  everyMs: number;
  /** Is given what a run throws, so that one failed run does not end the task. */
  onError(error: unknown): void;
}

/** Runs `task` every `everyMs` milliseconds, never twice at once. The timer does not keep the process alive. */
export function startPeriodicTask(
  task: () => Promise<void> | void,
  { everyMs, onError }: PeriodicTaskOptions,
): PeriodicTask {
  let running: Promise<void> | undefined;
  let following: Promise<void> | undefined;
  let closed = false;
  const once = async (): Promise<void> => {
    try {
      await task();
    } catch (error) {
      onError(error);
    }
    running = undefined;
  };
  const run = (): Promise<void> => {
    if (closed) return running ?? Promise.resolve();
    // `once` may end before it returns its promise, when the task is synchronous.
    running ??= Promise.resolve().then(once);
    return running;
  };
  const timer = setInterval(() => void run(), everyMs).unref();
  return {
    run,
    runAgain() {
      if (!running) return run();
      following ??= running.then(() => {
        following = undefined;
        return run();
      });
      return following;
    },
    async close() {
      clearInterval(timer);
      closed = true;
      await running;
    },
  };
}
