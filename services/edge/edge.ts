/** What the parts of one edge share. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { CommandLimits } from '../../nats/command-limits.ts';
import type { Gateway } from '../../nats/gateway.ts';
import type { Revocations } from '../../nats/revocations.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { Connection } from './connections/connection.ts';
import type { CursorWriter } from './delivery/cursor-writer.ts';
import type { DeliveryReceipts } from './delivery/delivery-receipts.ts';
import type { LiveSubscriptions } from './delivery/live-subscriptions.ts';
import type { ConsumerScheduler } from './offline/consumer-scheduler.ts';
import type { DeviceConsumers } from './offline/device-consumers.ts';
import type { InboxShards } from './offline/inbox-shards.ts';
import type { Presence } from './offline/presence.ts';

export interface Edge {
  config: Config;
  log: Logger;
  metrics: Metrics;
  db: Database;
  /** Connections of their own for pages of history, so that nothing else waits behind them. */
  historyDb: Database;
  nc: NatsConnection;
  gateway: Gateway;
  limits: CommandLimits;
  shards: InboxShards;
  replay: DeviceConsumers;
  cursors: CursorWriter;
  delivered: DeliveryReceipts;
  away: ConsumerScheduler;
  people: LiveSubscriptions;
  revocations: Revocations;
  presence: Presence;
  /** Open sockets by device: one each. */
  sessions: Map<string, Connection>;
  /** Sessions that are not simply live: looked after by the clock. */
  restless: Set<Connection>;
  /** Since the last look of the clock, which turns them into metrics. */
  tally: { in: number; out: number; backfill: number; gap: number };
  /** To the broker, as far as is known. */
  connected: boolean;
  draining: boolean;
}
