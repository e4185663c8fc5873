import { count, list, type Setting } from '../kinds.ts';

/** Settings: Pipeline. */
export const PIPELINE = {
  PARTITIONS: count(
    2,
    'Partitions of the log (by conversation): so many processes can share the work of ingest, fanout and history.',
    1,
  ),
  INBOX_SHARDS: count(4, 'Shards of the inbox (by user).', 1),
  STREAM_REPLICAS: count(1, 'Replicas of each stream (3 on a NATS cluster).', 1),
  LOG_RETENTION_DAYS: count(
    7,
    'How long the log keeps entries that history, fanout and events have all read; what one of them has not read stays until it has.',
    1,
  ),
  LOG_ACCEPT_MISSING: list(
    'Entries that were removed from the log before they were read, and are given up: stage:partition:last entry, e.g. history:0:57. See operations.md.',
  ),
  INBOX_RETENTION_DAYS: count(30, 'How long the inbox keeps an item for a device that is away.', 1),
  INBOX_QUOTA_ITEMS: count(100_000, 'Items waiting for a device at which senders hear queue_full.', 1),
  INBOX_RESTORE_WAIT_MS: count(
    30_000,
    'After a restart of the broker: how long the edge holds back inbox.empty while fanout writes again what may be lost.',
    0,
  ),
  INGRESS_MAX_BYTES: count(
    256 << 20,
    'Bytes of commands waiting for ingest; more are refused as unavailable.',
    1 << 20,
  ),
  DEAD_MAX_BYTES: count(
    64 << 20,
    'Bytes of dead letters kept, which the broker reserves on its disk; beyond, the oldest go.',
    1 << 20,
  ),
  GATEWAY_MAX_BYTES: count(64 << 20, 'Bytes of commands that one process may have waiting for ingest.', 1 << 20),
  GATEWAY_MAX_UNSENT: count(
    200_000,
    'Queued messages of one process whose senders wait for `sent`; while there are so many, later ones go without it.',
    1,
  ),
  COMMAND_TIMEOUT_MS: count(15_000, 'How long a command may wait for ingest before it is answered unavailable.', 100),
  BEHIND_MS: count(
    25,
    'Transactions of history, and messages of EVENTS, of one partition begin at least so far apart.',
    0,
  ),
  READY_STUCK_MS: count(
    5_000,
    'How long a batch may fail, or a position stand still with work to do, before its worker says on /ready that it is not ready.',
    100,
  ),
  BROKER_TIMEOUT_MS: count(
    10_000,
    'How long a worker waits for the broker (for answers to requests at most 5 s) before it looks again what the broker has; with 2,000 the workers find the new leader of a cluster sooner.',
    100,
  ),
  PIN_TIMEOUT_MS: count(2_000, 'How long a silent worker keeps its partition before another one takes over.', 500),
  INGEST_WINDOW: count(512, 'Batches of commands that ingest pulls ahead, per partition.', 1),
  HISTORY_WINDOW: count(128, 'Log entries that history pulls ahead, per partition.', 1),
  FANOUT_WINDOW: count(64, 'Log entries that fanout pulls ahead, per partition.', 1),
  FANOUT_MAX_GROUPS: count(20_000, 'Groups whose members fanout remembers, per partition.', 1),
  FANOUT_MAX_LOOKS: count(4, 'People whose waiting items fanout counts at the same time.', 1),
  MAX_REMOVED_DEVICES: count(
    20_000,
    'Deleted devices that a fanout or edge process remembers; for older ones an item or a durable may be made in vain.',
    1,
  ),
  DEDUPE_WINDOW: count(200_000, 'Client message ids that ingest remembers per partition; older ones are looked up.', 1),
  INGEST_MAX_CONVERSATIONS: count(50_000, 'Conversations that ingest remembers per partition.', 1),
  INGEST_MAX_PAYMENTS: count(20_000, 'Payment requests that ingest remembers per partition.', 1),
  INGEST_MAX_PEOPLE: count(100_000, 'People that an ingest process remembers.', 1),
  INGEST_MAX_UNPROJECTED: count(
    500_000,
    'Records of a partition that Postgres may be behind of before senders hear `unavailable`; ingest holds them in memory.',
    1,
  ),
  INGEST_POOL: count(4, 'Connections to Postgres that an ingest process looks things up with.', 1),
  INGEST_LOOKUP_TIMEOUT_MS: count(
    1_000,
    'How long ingest waits for Postgres; then commands that need it are answered `unavailable` until it answers again.',
    50,
  ),
} as const satisfies Record<string, Setting<unknown>>;
