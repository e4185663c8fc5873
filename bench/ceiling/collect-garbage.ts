/** Collects garbage on SIGUSR2, in a process that loads it with `--import` and `--expose-gc`, so that only held memory is measured. */
process.on('SIGUSR2', () => (globalThis as { gc?: () => void }).gc?.());
