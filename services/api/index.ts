/** api: people and the same commands as over the socket, over HTTP. Asks ingest through INGRESS, reads Postgres. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import Koa from 'koa';
import { CommandLimits } from '../../nats/command-limits.ts';
import { Gateway } from '../../nats/gateway.ts';
import { watchRevocations } from '../../nats/revocations.ts';
import { subject } from '../../nats/topology.ts';
import { openLimits } from '../../shared/auth/attempt-limits.ts';
import { openBlindIndex } from '../../shared/auth/blind-index.ts';
import { openSessions } from '../../shared/auth/sessions.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import { hasPlain, resealPeople } from '../../shared/db/sealed-columns.ts';
import { hostInUrl } from '../../shared/host-in-url.ts';
import { publicReply } from '../../shared/ops.ts';
import { openOrigins } from '../../shared/origins.ts';
import { type Ended, encodePersonEvent, type PersonEvent } from '../../shared/pipeline/person-event.ts';
import { openProxies } from '../../shared/proxies.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { leaving } from './accounts/delete-account.ts';
import { people } from './accounts/routes.ts';
import { openAccounts } from './accounts/store.ts';
import { openCodeSender } from './auth/code-sender.ts';
import { waysIn } from './auth/login.ts';
import { openCodes } from './auth/one-time-codes.ts';
import { openPasswords } from './auth/passwords.ts';
import { openServiceTokens } from './auth/service-tokens.ts';
import { sessionRoutes } from './auth/sessions.ts';
import { entering } from './auth/token-response.ts';
import { watchProjection } from './conversations/projection.ts';
import { conversations } from './conversations/routes.ts';
import { openChangeNotifier } from './devices/change-notifier.ts';
import { devices } from './devices/routes.ts';
import { cors, outermost, type State } from './http/middleware.ts';
import { createRouter } from './http/router.ts';
import { startEraser } from './jobs/erase.ts';
import { startExpiry } from './jobs/expire.ts';
import { keys } from './keys/routes.ts';
import { messages } from './messages/routes.ts';
import { paymentsInbound } from './payments/inbound.ts';
import { PaymentPublisher } from './payments/publisher.ts';
import { payments } from './payments/routes.ts';
import { push } from './push/routes.ts';
import { webhooks } from './webhooks/routes.ts';

async function open(context: Context): Promise<Service> {
  const { config, db, log, metrics } = context;
  const nc = await context.connect('api');
  const gateway = new Gateway(nc, config);
  const commands = new CommandLimits({ nc, config });
  const revocations = await watchRevocations({ nc, db, log, config });
  const tokens = openTokens(db, config, log);
  const sealer = openBlindIndex(config);
  const limits = openLimits(db, config);
  const passwords = await openPasswords(config, metrics, { log });
  const accounts = openAccounts(db, sealer);
  // Of a version that kept them in the clear. What can't be done now is left to `npm run admin -- reencrypt`.
  const sealing = hasPlain(db)
    .then(async (plain) => plain && log.info({ unit: 'reencrypt', ...(await resealPeople(db, sealer)) }))
    .catch((error: unknown) => log.warn({ unit: 'reencrypt', err: error }));
  const publish = (user_id: string, event: PersonEvent): void => {
    revocations.add(event.ended ?? []);
    if (!nc.isClosed()) nc.publish(subject.people(user_id), encodePersonEvent(event));
  };
  const announcer = openChangeNotifier({ db, gateway, log, publish });
  const changed = (user_id: string, event: PersonEvent): void => void announcer.changed(user_id, event);
  const devicesChanged = (user_id: string, ended: Ended[] = []): void => changed(user_id, { ended });
  const sessions = openSessions(db, config, tokens, devicesChanged);
  const origins = openOrigins(config, 'CORS_ORIGINS', log);
  const enter = entering({ config, origins, accounts, sessions, tokens, sealer });
  const courier = openCodeSender(config);
  const eraser = startEraser(db, nc, config, log);
  const expiry = startExpiry(db, log, config);
  const serviceTokens = openServiceTokens(db, config);
  const wakeWebhooks = (): void => {
    if (!nc.isClosed()) nc.publish(subject.webhooks);
  };
  const queue = new PaymentPublisher(nc, db);
  const projection = watchProjection(nc, config.PARTITIONS);
  const router = createRouter(
    {
      ...people({ accounts, tokens }),
      ...waysIn({
        config,
        db,
        accounts,
        passwords,
        limits,
        sealer,
        sessions,
        courier,
        codes: openCodes(db, sealer, config),
        entering: enter,
        changed,
      }),
      ...conversations({ config, db, gateway, accounts, projection, limits, commands }),
      ...messages({ config, db, gateway, commands }),
      ...leaving({
        config,
        db,
        passwords,
        limits,
        sealer,
        entering: enter,
        changed: announcer.changed,
        gone: () => eraser.runSoon(),
      }),
      ...devices({ db, accounts, announcer }),
      ...keys({ config, db, accounts, announcer, limits, log }),
      ...sessionRoutes({ db, entering: enter, announce: devicesChanged }),
      ...webhooks({ config, db, serviceTokens, wake: wakeWebhooks }),
      ...payments({ config, db, queue, gateway, projection, commands }),
      ...paymentsInbound({ config, queue, metrics }),
      ...push({ config, db }),
    },
    {
      async device(token) {
        const identity = await tokens.verify(token);
        revocations.assertActive(identity.session_id);
        return identity;
      },
      service: serviceTokens.verify,
    },
    limits,
    config,
  );

  // Koa takes the host from X-Forwarded-Host then, which no page of another host can send without a preflight.
  const app = new Koa<State>({ proxy: config.HTTP_TRUST_PROXY || config.TRUSTED_PROXIES.length > 0 });
  app.silent = true;
  const clientAddress = openProxies(config, config.HTTP_TRUST_PROXY);
  app.use((ctx, next) => {
    ctx.request.ip = clientAddress(ctx.req.socket.remoteAddress ?? '', ctx.get('x-forwarded-for'));
    return next();
  });
  app.use((ctx, next) => {
    const reply = ctx.method === 'GET' ? publicReply(ctx.path, context) : undefined;
    if (!reply) return next();
    ctx.status = reply.status;
    ctx.set('cache-control', 'no-store');
    ctx.type = reply.type;
    ctx.body = reply.body;
  });
  app.use(outermost(context));
  app.use(cors(origins));
  app.use(router.routes());

  const server = createServer({ requestTimeout: config.HTTP_REQUEST_TIMEOUT_SEC * 1000 }, app.callback());
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(config.PORT, config.HOST, resolve);
  });
  const { port } = server.address() as AddressInfo;

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
    ready: () => (state === true && !revocations.isKnown ? 'which sessions ended is not known yet' : state),
    addresses: { api: `http://${hostInUrl(config.HOST)}:${port}` },
    async close() {
      clearInterval(probing);
      state = 'closing';
      await sealing;
      await eraser.close();
      await expiry.close();
      await announcer.stop();
      await revocations.close();
      await passwords.close();
      courier.close();
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
