/** api: people and the same commands as over the socket, over HTTP. Asks ingest through INGRESS, reads Postgres. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import { Gateway } from '../../nats/gateway.ts';
import { subject } from '../../nats/topology.ts';
import { openPasswords } from '../../shared/auth/passwords.ts';
import { openServiceTokens } from '../../shared/auth/service-tokens.ts';
import { openSessions } from '../../shared/auth/sessions.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/lifecycle.ts';
import { opsReply } from '../../shared/ops.ts';
import { openAccounts } from './accounts.ts';
import { conversations } from './conversations.ts';
import { cors, outermost, type State } from './http.ts';
import { messages } from './messages.ts';
import { PaymentQueue } from './payment-queue.ts';
import { payments } from './payments.ts';
import { paymentsInbound } from './payments-inbound.ts';
import { people } from './people.ts';
import { watchProjection } from './projection.ts';
import { push } from './push.ts';
import { createRouter } from './router.ts';
import { sweepExpired } from './sweep.ts';
import { webhooks } from './webhooks.ts';

async function open(context: Context): Promise<Service> {
  const { config, db, log, metrics } = context;
  const nc = await context.connect('api');
  const gateway = new Gateway(nc, config);
  const tokens = openTokens(db, config);
  const serviceTokens = openServiceTokens(db, config);
  const wakeWebhooks = (): void => {
    if (!nc.isClosed()) nc.publish(subject.webhooks);
  };
  const accounts = openAccounts(db);
  const devicesChanged = (user_id: string): void => {
    if (!nc.isClosed()) nc.publish(subject.people(user_id));
  };
  const queue = new PaymentQueue(nc, db);
  const projection = watchProjection(nc, config.PARTITIONS);
  const router = createRouter(
    {
      ...people({
        config,
        db,
        accounts,
        tokens,
        devicesChanged,
        sessions: openSessions(db, config, tokens),
        passwords: await openPasswords(config),
      }),
      ...conversations({ config, db, gateway, accounts, projection }),
      ...messages({ config, db, gateway }),
      ...webhooks({ config, db, serviceTokens, wake: wakeWebhooks }),
      ...payments({ config, db, queue, gateway, projection }),
      ...paymentsInbound({ config, queue, metrics }),
      ...push({ config, db }),
    },
    { tokens, serviceTokens },
    config,
  );

  const app = new Koa<State>({ proxy: config.HTTP_TRUST_PROXY });
  app.silent = true;
  app.use(async (ctx, next) => {
    const reply = ctx.method === 'GET' ? await opsReply(ctx.path, context) : undefined;
    if (!reply) return next();
    ctx.status = reply.status;
    ctx.set('cache-control', 'no-store');
    ctx.type = reply.type;
    ctx.body = reply.body;
  });
  app.use(outermost(context));
  app.use(cors(config));
  app.use(router.routes());

  const server = createServer({ requestTimeout: config.HTTP_REQUEST_TIMEOUT_SEC * 1000 }, app.callback());
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.PORT, config.HOST, resolve);
  });
  const { port } = server.address() as AddressInfo;
  const sweep = sweepExpired(db, log);

  let state: true | string = 'not asked Postgres yet';
  let asking = false;
  const probe = async (): Promise<void> => {
    if (nc.isClosed()) state = 'the broker connection is closed';
    if (nc.isClosed() || asking) return;
    asking = true;
    state = await db.query('select 1').then(
      () => true as const,
      () => 'Postgres cannot be reached',
    );
    asking = false;
  };
  await probe();
  const probing = setInterval(() => void probe(), 1_000).unref();

  return {
    ready: () => state,
    addresses: { api: `http://${config.HOST.includes(':') ? `[${config.HOST}]` : config.HOST}:${port}` },
    async close() {
      clearInterval(probing);
      state = 'closing';
      await sweep.stop();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeIdleConnections();
        // A client that keeps its connection busy does not keep us.
        setTimeout(() => server.closeAllConnections(), 5_000).unref();
      });
      gateway.close();
    },
  };
}

export default {
  name: 'api',
  about: 'HTTP API: people, conversations, messages, history.',
  open,
} satisfies ServiceDefinition;
