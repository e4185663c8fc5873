import { count, flag, list, type Setting } from '../kinds.ts';

/** Settings: Edge. */
export const EDGE = {
  WS_MAX_COMMAND_BYTES: count(131_072, 'Largest frame that a client may send, bytes.', 1024),
  WS_MAX_CONNECTIONS_PER_IP: count(10_000, 'Open sockets per address.', 1),
  WS_MAX_CONNECTIONS_PER_USER: count(50, 'Open sockets per person.', 1),
  WS_RATE_LIMIT_MAX_COMMANDS: count(
    600,
    'Commands per person and window, over all sockets, HTTP and processes; inbox.ack and ping are free.',
    1,
  ),
  WS_RATE_LIMIT_MAX_IDLE: count(
    6_000,
    'ping, and inbox.ack that acknowledges nothing new, per socket and window; more of them are commands.',
    1,
  ),
  WS_RATE_LIMIT_WINDOW_SEC: count(60, 'Length of that window, seconds.', 1),
  WS_MAX_FREE_BYTES: count(1_024, 'Largest inbox.ack or ping, bytes; a larger one is refused unread.', 256),
  WS_MAX_REFUSED_BYTES: count(
    1 << 20,
    'Bytes of frames that were refused, per socket and window; with more it is closed with 4400.',
    1_024,
  ),
  WS_MAX_HISTORY_WAITING: count(16, 'history.get of a socket that wait while one is answered.'),
  HISTORY_MAX_PAGE_BYTES: count(
    1 << 20,
    'Payloads on one page of history (history.get, and over HTTP by cursor), bytes; one message always fits.',
    1_024,
  ),
  HISTORY_POOL: count(2, 'Connections to Postgres that an edge reads pages of history with.', 1),
  WS_MAX_EARLY_FRAMES: count(64, 'Frames of a socket that wait while it is looked up whose it is.', 1),
  WS_HEARTBEAT_SEC: count(30, 'Interval of server pings, seconds.', 1),
  WS_IDLE_TIMEOUT_SEC: count(120, 'Silence after which a socket is closed, seconds (8 to 960).', 8),
  WS_SLOW_READER_SEC: count(30, 'How long a socket may stay full before it is closed with 4408, seconds.', 1),
  WS_MAX_BUFFERED_BYTES: count(1 << 20, 'Bytes buffered for one socket before it is paused.', 65_536),
  WS_MAX_UNACKED: count(2_048, 'Items sent to a device and not acknowledged before the edge waits.', 1),
  WS_MAX_HEARD: count(
    64,
    'Items that come for a socket during its replay and are kept for its end; more are read from the stream instead.',
    1,
  ),
  EDGE_MAX_RECIPIENTS: count(20_000, 'Numbers, and ids of direct conversations, that an edge remembers.', 1),
  WS_ALLOW_QUERY_TOKEN: flag(false, 'Accept ?access_token= and ?token= (they end up in logs of proxies).'),
  WS_ALLOWED_ORIGINS: list('Read by the edge where ALLOWED_ORIGINS is not set; goes with the next release.'),
  AWAY_GRACE_MS: count(5_000, 'How long after its socket closed a device gets a durable consumer.'),
  AWAY_MAX_WAITING: count(
    200_000,
    'Devices of one edge that wait for a durable consumer to be made, or to be dropped; beyond, a device goes without.',
    1,
  ),
  PRESENCE_LEASE_MS: count(20_000, 'An edge silent for so long counts as gone, and its devices as away.', 1_000),
  AWAY_CONSUMER_IDLE_DAYS: count(7, 'A durable nobody pulled from for so long is dropped; the cursor stays.', 1),
  INBOX_MAX_CONSUMERS: count(200_000, 'Durable consumers per inbox shard.', 1),
} as const satisfies Record<string, Setting<unknown>>;
