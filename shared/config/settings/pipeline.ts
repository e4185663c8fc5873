import { advanced, count, list, type Setting } from '../kinds.ts';

/** Settings of the pipeline: streams, workers, and what the workers keep in memory. */
export const PIPELINE = {
  PARTITIONS: count(
    2,
    'Partitions of the log, by conversation. At most this many processes share the work of each of ingest, fanout and history.',
    1,
  ),
  INBOX_SHARDS: count(4, 'Shards of the inbox, by user.', 1),
  STREAM_REPLICAS: count(1, 'Replicas of each stream; 3 on a NATS cluster.', 1),
  LOG_RETENTION_DAYS: count(
    7,
    'How long the log keeps entries that history, fanout and events have all read, days. Entries that one of them has not read are kept until it has.',
    1,
  ),
  LOG_ACCEPT_MISSING: list(
    'Entries that were removed from the log before they were read and are given up, as stage:partition:last entry, e.g. history:0:57. See operations.md.',
  ),
  INBOX_RETENTION_DAYS: count(30, 'How long the inbox keeps an item for a device that is away, days.', 1),
  INBOX_QUOTA_ITEMS: count(
    100_000,
    'Most items that may wait for a device. Beyond, messages to it are refused as queue_full.',
    1,
  ),
  DEAD_MAX_BYTES: count(
    64 << 20,
    'Most bytes of dead letters that are kept; the broker reserves them on its disk. Beyond, the oldest are deleted.',
    1 << 20,
  ),
  ...advanced({
    INGRESS_MAX_BYTES: count(
      256 << 20,
      'Most bytes of commands that wait for ingest, in the memory of the broker. More are refused as unavailable.',
      1 << 20,
    ),
    INBOX_RESTORE_WAIT_MS: count(
      30_000,
      'After a restart of the broker: how long the edge holds back inbox.empty, ms, while fanout writes items again that may be lost.',
      0,
    ),
    GATEWAY_MAX_BYTES: count(
      64 << 20,
      'Most bytes of commands of one process that wait for ingest. More are refused as unavailable.',
      1 << 20,
    ),
    GATEWAY_MAX_UNSENT: count(
      200_000,
      'Most queued messages of one process whose senders wait for `sent`. Senders of further ones receive none.',
      1,
    ),
    COMMAND_TIMEOUT_MS: count(
      15_000,
      'How long a command waits for ingest, ms, before it is answered with unavailable.',
      100,
    ),
    BEHIND_MS: count(
      25,
      'Least time between two transactions of history, and between two messages of EVENTS, of one partition, ms.',
      0,
    ),
    READY_STUCK_MS: count(
      5_000,
      'A worker whose batch fails, or whose position stands still with work to do, for this long, ms, is not ready on /ready.',
      100,
    ),
    BROKER_TIMEOUT_MS: count(
      10_000,
      'How long a worker waits for the broker, ms, before it asks for the state again (for replies to requests at most 5,000). With 2,000 the workers of a cluster find a new leader sooner.',
      100,
    ),
    PIN_TIMEOUT_MS: count(
      2_000,
      'How long a worker that does not pull keeps its partition, ms, before another one takes it over.',
      500,
    ),
    INGEST_WINDOW: count(512, 'Batches of commands that ingest pulls ahead, per partition.', 1),
    HISTORY_WINDOW: count(128, 'Log entries that history pulls ahead, per partition.', 1),
    FANOUT_WINDOW: count(64, 'Log entries that fanout pulls ahead, per partition.', 1),
    FANOUT_MAX_GROUPS: count(
      20_000,
      'Most groups whose members fanout remembers, per partition. Forgotten ones are read again.',
      1,
    ),
    FANOUT_MAX_LOOKS: count(4, 'Most people whose waiting items fanout counts at the same time.', 1),
    MAX_REMOVED_DEVICES: count(
      20_000,
      'Most deleted devices that a fanout or edge process remembers. For a forgotten one an item or a durable consumer may be made in vain.',
      1,
    ),
    DEDUPE_WINDOW: count(
      200_000,
      'Most client message ids that ingest remembers, per partition. Older ones are looked up in Postgres.',
      1,
    ),
    INGEST_MAX_CONVERSATIONS: count(
      50_000,
      'Most conversations that ingest remembers, per partition. Forgotten ones are read again.',
      1,
    ),
    INGEST_MAX_PAYMENTS: count(
      20_000,
      'Most payment requests that ingest remembers, per partition. Forgotten ones are read again.',
      1,
    ),
    INGEST_MAX_PEOPLE: count(
      100_000,
      'Most people that an ingest process remembers. Forgotten ones are read again.',
      1,
    ),
    INGEST_MAX_UNPROJECTED: count(
      500_000,
      'Most records of a partition that ingest holds in memory because Postgres does not have them yet. Beyond, commands are refused as unavailable.',
      1,
    ),
    INGEST_POOL: count(4, 'Connections to Postgres with which an ingest process looks things up.', 1),
    INGEST_LOOKUP_TIMEOUT_MS: count(
      1_000,
      'How long ingest waits for Postgres, ms. Afterwards commands that need Postgres are refused as unavailable until it answers again.',
      50,
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
