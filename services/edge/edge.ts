/** What the parts of one edge share. */
import type { NatsConnection } from 'nats';
import type { Logger } from 'pino';
import type { CommandLimits } from '../../nats/command-limits.ts';
import type { Gateway } from '../../nats/gateway.ts';
import type { Revocations } from '../../shared/auth/revocations.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import type { Metrics } from '../../shared/metrics.ts';
import type { Away } from './away.ts';
import type { Cursors } from './cursors.ts';
import type { Delivered } from './delivered.ts';
import type { People } from './people.ts';
import type { Presence } from './presence.ts';
import type { Replay } from './replay.ts';
import type { Session } from './session.ts';
import type { Shards } from './shards.ts';

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
  shards: Shards;
  replay: Replay;
  cursors: Cursors;
  delivered: Delivered;
  away: Away;
  people: People;
  revocations: Revocations;
  presence: Presence;
  /** Open sockets by device: one each. */
  sessions: Map<string, Session>;
  /** Sessions that are not simply live: looked after by the clock. */
  restless: Set<Session>;
  /** Since the last look of the clock, which turns them into metrics. */
  tally: { in: number; out: number; backfill: number; gap: number };
  /** To the broker, as far as is known. */
  connected: boolean;
  draining: boolean;
}
