import { advanced, count, flag, list, type Setting } from '../kinds.ts';

/** Settings of the edge: sockets, what they may send, and devices that are away. */
export const EDGE = {
  WS_MAX_CONNECTIONS_PER_IP: count(
    10_000,
    'Most open sockets of one address, per process. More are refused as rate_limited.',
    1,
  ),
  WS_MAX_CONNECTIONS_PER_USER: count(50, 'Most open sockets of one person. More are refused as rate_limited.', 1),
  WS_RATE_LIMIT_MAX_COMMANDS: count(
    600,
    'Most commands of one person per window, over all sockets, HTTP and processes; inbox.ack and ping do not count. More are refused as rate_limited.',
    1,
  ),
  WS_IDLE_TIMEOUT_SEC: count(
    120,
    'A socket that sends nothing for this long, not even a pong, is closed, seconds (8 to 960).',
    8,
  ),
  WS_ALLOW_QUERY_TOKEN: flag(
    false,
    'Accept ?access_token= and ?token= when a socket opens. Refused in production, since proxies log URLs.',
  ),
  WS_ALLOWED_ORIGINS: list('Read by the edge where ALLOWED_ORIGINS is not set; goes with the next release.'),
  ...advanced({
    INBOX_MAX_CONSUMERS: count(
      200_000,
      'Most durable consumers per inbox shard. Beyond, devices that go away get none.',
      1,
    ),
    WS_RATE_LIMIT_WINDOW_SEC: count(60, 'Length of the window of all WS_ limits, seconds.', 1),
    WS_HEARTBEAT_SEC: count(30, 'Interval of the pings that the edge sends, seconds.', 1),
    WS_MAX_COMMAND_BYTES: count(
      131_072,
      'Largest frame that a client may send, bytes. A larger one closes the socket.',
      1024,
    ),
    WS_MAX_FREE_BYTES: count(1_024, 'Largest inbox.ack or ping, bytes. A larger one is refused unread.', 256),
    WS_RATE_LIMIT_MAX_IDLE: count(
      6_000,
      'Most frames per socket and window that do not count as commands: ping, and inbox.ack that acknowledges nothing new. More of them count.',
      1,
    ),
    WS_MAX_REFUSED_BYTES: count(
      1 << 20,
      'Most bytes of refused frames per socket and window. A socket that sends more is closed with 4400.',
      1_024,
    ),
    WS_MAX_EARLY_FRAMES: count(
      64,
      'Most frames that a socket may send before its welcome. A socket that sends more is closed.',
      1,
    ),
    WS_MAX_HISTORY_WAITING: count(
      16,
      'Most history.get of one socket that wait while another one is answered. More are refused as rate_limited.',
    ),
    HISTORY_MAX_PAGE_BYTES: count(
      1 << 20,
      'Most bytes of payloads on one page of history (history.get, and over HTTP by cursor). One message always fits.',
      1_024,
    ),
    HISTORY_POOL: count(2, 'Connections to Postgres with which one edge reads pages of history.', 1),
    WS_SLOW_READER_SEC: count(30, 'A socket whose buffer stays full for this long, seconds, is closed with 4408.', 1),
    WS_MAX_BUFFERED_BYTES: count(
      1 << 20,
      'Most bytes that the edge buffers for one socket. Beyond, it sends no more items until the client has read some.',
      65_536,
    ),
    WS_MAX_UNACKED: count(
      2_048,
      'Most items that a device may leave unacknowledged. Beyond, the edge sends no more until the device acknowledges some.',
      1,
    ),
    WS_MAX_HEARD: count(
      64,
      'Most live items that the edge keeps for a socket during its replay. Beyond, it reads them from the stream afterwards.',
      1,
    ),
    EDGE_MAX_RECIPIENTS: count(
      20_000,
      'Most numbers, and ids of direct conversations, that one edge remembers. Forgotten ones are looked up again.',
      1,
    ),
    AWAY_GRACE_MS: count(
      5_000,
      'How long after its socket closed a device gets a durable consumer, ms. A device that comes back before costs none.',
    ),
    AWAY_MAX_WAITING: count(
      200_000,
      'Most devices of one edge that wait for their durable consumer to be made, or to be deleted. A device beyond goes without.',
      1,
    ),
    PRESENCE_LEASE_MS: count(
      20_000,
      'An edge that does not renew its lease for this long, ms, counts as gone, and its devices as away.',
      1_000,
    ),
    AWAY_CONSUMER_IDLE_DAYS: count(
      7,
      'A durable consumer that nobody pulls from for this many days is deleted; the cursor of its device stays.',
      1,
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
