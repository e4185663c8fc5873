/** Loaded into a measured process (`--import`, with `--expose-gc`): collects garbage on SIGUSR2, so that memory is what is held. */
process.on('SIGUSR2', () => (globalThis as { gc?: () => void }).gc?.());
