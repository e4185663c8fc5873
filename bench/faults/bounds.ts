/** Defines the bounds of caches, windows and queues under which every scenario runs. */
import type { Config } from '../../shared/config/index.ts';

export interface Bounds {
  description: string;
  settings: Partial<Config>;
  /** Number of processes of each worker: history, fanout and ingest. */
  workers: number;
}

export const BOUNDS = {
  real: { description: 'the default settings, one process of each worker', settings: {}, workers: 1 },
  tiny: {
    description: 'caches, windows and queues that every batch fills, two processes of each worker',
    settings: {
      ...{ PARTITIONS: 4, TOKEN_CACHE_SIZE: 1, WS_MAX_UNACKED: 16 },
      ...{ DEDUPE_WINDOW: 5, INGEST_MAX_CONVERSATIONS: 3, INGEST_MAX_PEOPLE: 1, INGEST_MAX_PAYMENTS: 1 },
      ...{ INGEST_MAX_UNPROJECTED: 500, INGEST_LOOKUP_TIMEOUT_MS: 1_000 },
      ...{ INGEST_WINDOW: 2, HISTORY_WINDOW: 2, FANOUT_WINDOW: 2, FANOUT_MAX_GROUPS: 1, FANOUT_MAX_LOOKS: 1 },
      ...{ MAX_REMOVED_DEVICES: 1, EDGE_MAX_RECIPIENTS: 1, WS_MAX_HEARD: 1, AWAY_MAX_WAITING: 1 },
    },
    workers: 2,
  },
} as const satisfies Record<string, Bounds>;

export type BoundsName = keyof typeof BOUNDS;
