/** The routes of webhooks, put together from those of endpoints and of deliveries. */
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { HandlersOf } from '../http/router.ts';
import { deliveryRoutes } from './delivery-routes.ts';
import { endpointRoutes } from './endpoint-routes.ts';
import { openWebhookStore } from './store.ts';

export interface WebhookDeps {
  config: Config;
  db: Database;
  /** Tells the webhook workers that a delivery may be due. */
  wakeWorkers(): void;
}

export function webhookRoutes(deps: WebhookDeps): HandlersOf<'webhooks'> {
  const store = openWebhookStore(deps.db);
  return { ...endpointRoutes({ ...deps, store }), ...deliveryRoutes({ ...deps, store }) };
}
