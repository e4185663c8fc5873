/**
 * Serves /health (the process runs), /ready (requests would succeed, or why not) and /metrics to operators, on a port of
 * each process. On the ports of clients a load balancer learns the state and nothing else.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostInUrl } from './host-in-url.ts';
import type { Context } from './service.ts';

export interface Reply {
  status: number;
  type: string;
  body: string;
}

const json = (status: number, body: unknown): Reply => ({
  status,
  type: 'application/json; charset=utf-8',
  body: JSON.stringify(body),
});

/** @returns 200 once every service of this process is ready, otherwise 503 with the reason of each service. */
function describeReadiness({ services }: Pick<Context, 'services'>): Reply {
  const states = Object.fromEntries([...services].map(([name, service]) => [name, service.ready()]));
  const ready = services.size > 0 && Object.values(states).every((state) => state === true);
  return json(ready ? 200 : 503, { data: { ready, services: states } });
}

const describeHealth = (): Reply => json(200, { data: { status: 'ok', uptime_sec: Math.floor(process.uptime()) } });

async function describeMetrics({ metrics }: Pick<Context, 'metrics'>): Promise<Reply> {
  return { status: 200, type: metrics.registry.contentType, body: await metrics.registry.metrics() };
}

/** @returns the reply to `GET path` on a port that clients reach: without reasons and figures. Undefined for other paths. */
export function replyToClient(path: string, context: Pick<Context, 'services'>): Reply | undefined {
  if (path === '/health') return json(200, { data: { status: 'ok' } });
  if (path !== '/ready') return undefined;
  const { status } = describeReadiness(context);
  return json(status, { data: { ready: status === 200 } });
}

/** @returns the reply to `GET path` on OPS_PORT, undefined for other paths. */
async function replyToOperator(
  path: string,
  context: Pick<Context, 'services' | 'metrics'>,
): Promise<Reply | undefined> {
  if (path === '/health') return describeHealth();
  if (path === '/ready') return describeReadiness(context);
  if (path === '/metrics') return await describeMetrics(context);
  return undefined;
}

/** Serves the three paths on OPS_HOST and OPS_PORT. @throws when another process has the port. */
export async function startOps(context: Context): Promise<{ url: string; close(): Promise<void> }> {
  const { OPS_HOST, OPS_PORT } = context.config;
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0]!;
    const get = request.method === 'GET' || request.method === 'HEAD';
    replyToOperator(get ? path : '', context).then(
      (
        reply = json(404, {
          error: { code: 'not_found', message: 'no such path: the paths are /health, /ready and /metrics' },
        }),
      ) => {
        response.writeHead(reply.status, { 'content-type': reply.type, 'cache-control': 'no-store' });
        response.end(request.method === 'HEAD' ? undefined : reply.body);
      },
      () => response.writeHead(500).end(),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = `OPS_PORT ${OPS_PORT} is taken by another process: give each process of a machine its own port, or 0 for any free one`;
      reject(error.code === 'EADDRINUSE' ? new Error(taken, { cause: error }) : error);
    });
    server.listen(OPS_PORT, OPS_HOST, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://${hostInUrl(OPS_HOST)}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
