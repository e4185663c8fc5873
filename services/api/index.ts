/** api: accounts, conversations, messages, payments and webhooks over HTTP. Asks ingest through INGRESS, reads Postgres. */
import { hasPlainColumns, reencryptPeople } from '../../shared/auth/encrypted-columns.ts';
import type { Context, Service, ServiceDefinition } from '../../shared/service.ts';
import { accountRoutes } from './accounts/routes.ts';
import { authRoutes } from './auth/routes.ts';
import { conversationRoutes } from './conversations/routes.ts';
import { deviceRoutes } from './devices/routes.ts';
import { type Authenticate, createRouter, type Handlers } from './http/router.ts';
import { openHttpServer } from './http/server.ts';
import { startEraser } from './jobs/erase.ts';
import { startExpiry } from './jobs/expire.ts';
import { keyRoutes } from './keys/routes.ts';
import { messageRoutes } from './messages/routes.ts';
import { paymentRoutes } from './payments/routes.ts';
import { pushRoutes } from './push/routes.ts';
import { openReadiness } from './readiness.ts';
import { openResources, type Resources } from './resources.ts';
import { serverRoutes } from './server-routes.ts';
import { webhookRoutes } from './webhooks/routes.ts';

const createHandlers = (resources: Resources, startErasing: () => void): Handlers => ({
  ...serverRoutes(),
  ...authRoutes(resources),
  ...accountRoutes({ ...resources, startErasing }),
  ...deviceRoutes(resources),
  ...keyRoutes(resources),
  ...conversationRoutes(resources),
  ...messageRoutes(resources),
  ...paymentRoutes(resources),
  ...pushRoutes(resources),
  ...webhookRoutes(resources),
});

const createAuthenticate = ({ tokens, revocations, serviceTokens }: Resources): Authenticate => ({
  async device(token) {
    const identity = await tokens.verify(token);
    revocations.assertActive(identity.session_id);
    return identity;
  },
  service: serviceTokens.verify,
});

/**
 * Encrypts what a version without encryption left in the clear. Never rejects: fields that cannot be encrypted now are left
 * to `npm run admin -- reencrypt`.
 */
async function encryptPlainColumns({ db, log, blindIndex }: Resources): Promise<void> {
  try {
    if (await hasPlainColumns(db)) log.info({ unit: 'reencrypt', ...(await reencryptPeople(db, blindIndex)) });
  } catch (error) {
    log.warn({ unit: 'reencrypt', err: error });
  }
}

async function open(context: Context): Promise<Service> {
  const resources = await openResources(context);
  const { config, db, log, nc, limits, origins, revocations } = resources;
  const encrypting = encryptPlainColumns(resources);
  const eraser = startEraser(db, nc, config, log);
  const expiry = startExpiry(db, log, config);
  const handlers = createHandlers(resources, () => eraser.runSoon());
  const router = createRouter(handlers, { authenticate: createAuthenticate(resources), limits, config });
  const server = await openHttpServer(context, origins, router);
  const readiness = await openReadiness(nc, db, revocations);

  return {
    ready: readiness.state,
    addresses: { api: server.url },
    async close() {
      readiness.close();
      await encrypting;
      await eraser.close();
      await expiry.close();
      await resources.notifier.close();
      await revocations.close();
      await resources.passwords.close();
      resources.codeSender.close();
      await server.close();
      resources.gateway.close();
    },
  };
}

export default { open } satisfies ServiceDefinition;
