/** The HTTP server of the API: Koa with the checks of every request, and the socket that it listens on. */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Router from '@koa/router';
import Koa from 'koa';
import type { Config } from '../../../shared/config/index.ts';
import { hostInUrl } from '../../../shared/host-in-url.ts';
import { replyToClient } from '../../../shared/ops.ts';
import type { Origins } from '../../../shared/origins.ts';
import { createClientAddressFinder } from '../../../shared/proxies.ts';
import type { Context } from '../../../shared/service.ts';
import { cors } from './cors.ts';
import { handleRequests, type State } from './middleware.ts';

/** Requests that are still running when the server closes may take so long to finish. */
const CLOSE_TIMEOUT_MS = 5_000;

function createApp(context: Context, origins: Origins, router: Router<State>): Koa<State> {
  const { config } = context;
  // With `proxy` Koa reads the host from X-Forwarded-Host. A page of another host cannot send that without a preflight.
  const app = new Koa<State>({ proxy: config.HTTP_TRUST_PROXY || config.TRUSTED_PROXIES.length > 0 });
  app.silent = true;
  const clientAddress = createClientAddressFinder(config, config.HTTP_TRUST_PROXY);
  app.use((ctx, next) => {
    ctx.request.ip = clientAddress(ctx.req.socket.remoteAddress ?? '', ctx.get('x-forwarded-for'));
    return next();
  });
  app.use((ctx, next) => {
    const reply = ctx.method === 'GET' ? replyToClient(ctx.path, context) : undefined;
    if (!reply) return next();
    ctx.status = reply.status;
    ctx.set('cache-control', 'no-store');
    ctx.type = reply.type;
    ctx.body = reply.body;
  });
  app.use(handleRequests(context));
  app.use(cors(origins));
  app.use(router.routes());
  return app;
}

function listen(server: Server, { HOST, PORT }: Config): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(PORT, HOST, () => {
      const { port } = server.address() as AddressInfo;
      resolve(`http://${hostInUrl(HOST)}:${port}`);
    });
  });
}

export interface HttpServer {
  url: string;
  /** Resolves when the requests that are running have finished, at the latest after CLOSE_TIMEOUT_MS. */
  close(): Promise<void>;
}

/** @throws when the port is taken. */
export async function openHttpServer(context: Context, origins: Origins, router: Router<State>): Promise<HttpServer> {
  const { config } = context;
  const server = createServer(
    { requestTimeout: config.HTTP_REQUEST_TIMEOUT_SEC * 1000 },
    createApp(context, origins, router).callback(),
  );
  server.keepAliveTimeout = 65_000;
  const url = await listen(server, config);
  return {
    url,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        // Otherwise a client that keeps its connection busy would keep the process alive.
        setTimeout(() => server.closeAllConnections(), CLOSE_TIMEOUT_MS).unref();
      }),
  };
}
