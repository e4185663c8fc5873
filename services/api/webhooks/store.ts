/** Stores what the API shows and changes of webhooks. */
import type { Database } from '../../../shared/db/database.ts';
import { type DeliveryStore, openDeliveryStore } from './delivery-store.ts';
import { type EndpointStore, openEndpointStore } from './endpoint-store.ts';

export type WebhookStore = EndpointStore & DeliveryStore;

export const openWebhookStore = (db: Database): WebhookStore => ({
  ...openEndpointStore(db),
  ...openDeliveryStore(db),
});
