import { createServer } from 'node:net';

/**
 * Finds a port on which nobody listens now. Another process may take it before the caller does: the caller then tries again.
 * The port lies below the range from which kernels take ports of outgoing connections, so that a restart finds it free.
 */
export async function freePort(host = '127.0.0.1'): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const free = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, host, () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
