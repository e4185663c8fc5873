/** The one reader of the environment. `docs/configuration.md` is generated from this table. */
import { isAbsolute, resolve } from 'node:path';

import { choice, count, counts, fail, flag, list, optional, type Setting, text } from './kinds.ts';

export const SETTINGS = {
  // Where things are
  HOST: text('127.0.0.1', 'Address that the API and the edge listen on.'),
  PORT: count(8080, 'Port of the HTTP API; 0 lets the kernel choose.'),
  EDGE_PORT: count(8081, 'Port of the WebSocket edge; 0 lets the kernel choose.'),
  OPS_PORT: count(0, 'Port of /health /ready /metrics for a process without API and edge; 0 lets the kernel choose.'),
  DATA_DIR: {
    ...text('./data', 'Everything that lasts in the embedded default.'),
    parse: (t: string) => (isAbsolute(t) ? t : resolve(t)),
  },
  NATS_URL: optional('Use this NATS server instead of the embedded one.'),
  NATS_SECRET: optional('Each service derives its NATS password from this secret; generated in the embedded default.'),
  NATS_SERVER_BIN: optional('The nats-server binary to embed (2.14 or newer).'),
  DATABASE_URL: optional('Use this Postgres instead of the embedded one.'),
  DATABASE_POOL: count(8, 'Connections to Postgres per process.', 1),
  DATABASE_CONNECT_TIMEOUT_MS: count(5_000, 'How long a statement waits for a connection to Postgres.', 100),
  DATABASE_IDLE_TRANSACTION_MS: count(
    15_000,
    'How long a process that stands still in a transaction keeps its locks from the others; 0 for ever.',
  ),
  DATABASE_QUERY_TIMEOUT_MS: count(30_000, 'How long a statement may take before it is given up; 0 for ever.'),
  DURABILITY: choice('durable', ['durable', 'fast'], 'Profile of the broker: fsync before acknowledging, or not.'),
  ALLOW_FAST: flag(false, 'Allow the fast profile in production.'),
  NODE_ENV: text('development', 'production refuses generated secrets, open CORS, query tokens and the fast profile.'),
  LOG_LEVEL: text('info', 'pino level.'),
  // How the pipeline is cut; see docs/operations.md before changing it on existing data
  PARTITIONS: count(
    2,
    'Partitions of the log (by conversation): so many processes can share the work of ingest, fanout and history.',
    1,
  ),
  INBOX_SHARDS: count(4, 'Shards of the inbox (by user).', 1),
  STREAM_REPLICAS: count(1, 'Replicas of each stream (3 on a NATS cluster).', 1),
  LOG_RETENTION_DAYS: count(7, 'How long the log keeps entries that every projection has read.', 1),
  INBOX_RETENTION_DAYS: count(30, 'How long the inbox keeps an item for a device that is away.', 1),
  INBOX_QUOTA_ITEMS: count(100_000, 'Items waiting for a device at which senders hear queue_full.', 1),
  INGRESS_MAX_BYTES: count(
    256 << 20,
    'Bytes of commands waiting for ingest; more are refused as unavailable.',
    1 << 20,
  ),
  GATEWAY_MAX_BYTES: count(64 << 20, 'Bytes of commands that one process may have waiting for ingest.', 1 << 20),
  COMMAND_TIMEOUT_MS: count(15_000, 'How long a command may wait for ingest before it is answered unavailable.', 100),
  BEHIND_MS: count(
    25,
    'Transactions of history, and messages of EVENTS, of one partition begin at least so far apart.',
    0,
  ),
  PIN_TIMEOUT_MS: count(2_000, 'How long a silent worker keeps its partition before another one takes over.', 500),
  DEDUPE_WINDOW: count(200_000, 'Client message ids that ingest remembers per partition; older ones are looked up.', 1),
  // The API
  HTTP_MAX_BODY_BYTES: count(1 << 20, 'Largest body of an HTTP request, bytes.', 1024),
  HTTP_REQUEST_TIMEOUT_SEC: count(30, 'How long a client may take to send its request, seconds.', 1),
  HTTP_TRUST_PROXY: flag(false, 'Take client addresses from X-Forwarded-For (behind a proxy that sets it).'),
  READ_YOUR_WRITES_MS: count(2_000, 'How long creating a conversation waits to see it in the projection.'),
  // Keys
  PREKEYS_MAX: count(2_000, 'One-time keys that a device may have waiting, of all kinds together.', 1),
  PREKEYS_LOW: count(10, 'One-time keys of a kind at which their device is told to add more.'),
  PREKEYS_LOW_AGAIN_SEC: count(3_600, 'How long after that it is not told again, seconds.'),
  PREKEY_MEMORY_DAYS: count(90, 'How long a key that was handed out is remembered, so that it is not taken again.', 1),
  KEY_CLAIMS_MAX: count(120, 'Claims of the keys of one person by another, per window.', 1),
  KEY_CLAIMS_WINDOW_SEC: count(3_600, 'Length of that window, seconds.', 1),
  KEY_BACKUP_MAX_BYTES: count(262_144, 'Largest encrypted backup of keys, bytes of UTF-8.', 1),
  // Messages
  MESSAGE_MAX_BYTES: count(65_536, 'Longest payload, bytes of UTF-8.', 1),
  GROUP_MAX_MEMBERS: count(1_000, 'Members of a group.', 2),
  STATUS_MAX_MEMBERS: count(32, 'Conversations up to this size tell senders what was delivered and read.', 2),
  // The edge
  WS_MAX_COMMAND_BYTES: count(131_072, 'Largest frame that a client may send, bytes.', 1024),
  WS_MAX_CONNECTIONS_PER_IP: count(10_000, 'Open sockets per address.', 1),
  WS_RATE_LIMIT_MAX_COMMANDS: count(600, 'Commands per connection and window; inbox.ack and ping are free.', 1),
  WS_RATE_LIMIT_WINDOW_SEC: count(60, 'Length of that window, seconds.', 1),
  WS_HEARTBEAT_SEC: count(30, 'Interval of server pings, seconds.', 1),
  WS_IDLE_TIMEOUT_SEC: count(120, 'Silence after which a socket is closed, seconds (8 to 960).', 8),
  WS_SLOW_READER_SEC: count(30, 'How long a socket may stay full before it is closed with 4408, seconds.', 1),
  WS_MAX_BUFFERED_BYTES: count(1 << 20, 'Bytes buffered for one socket before it is paused.', 65_536),
  WS_MAX_UNACKED: count(2_048, 'Items sent to a device and not acknowledged before the edge waits.', 1),
  WS_ALLOW_QUERY_TOKEN: flag(false, 'Accept ?access_token= and ?token= (they end up in logs of proxies).'),
  WS_ALLOWED_ORIGINS: list('Origins that browsers may connect from; empty: same host only.'),
  AWAY_GRACE_MS: count(5_000, 'How long after its socket closed a device gets a durable consumer.'),
  PRESENCE_LEASE_MS: count(20_000, 'An edge silent for so long counts as gone, and its devices as away.', 1_000),
  AWAY_CONSUMER_IDLE_DAYS: count(7, 'A durable nobody pulled from for so long is dropped; the cursor stays.', 1),
  INBOX_MAX_CONSUMERS: count(200_000, 'Durable consumers per inbox shard.', 1),
  // Accounts
  ACCESS_TOKEN_EXPIRE_MINUTES: count(15, 'Life of an access token.', 1),
  REFRESH_TOKEN_EXPIRE_DAYS: count(30, 'Life of a refresh token.', 1),
  AUTH_RATE_LIMIT_MAX_REQUESTS: count(300, 'Calls of the routes below /v1/auth per address and window.', 1),
  AUTH_RATE_LIMIT_WINDOW_SECONDS: count(60, 'Length of that window, seconds.', 1),
  AUTH_LOCK_MAX_FAILURES: count(10, 'Wrong passwords or codes for one identifier from one address before a lock.', 1),
  AUTH_LOCK_MAX_FAILURES_IN_ALL: count(
    100,
    'Wrong passwords or codes for one identifier from anywhere before a lock.',
    1,
  ),
  AUTH_LOCK_WINDOW_SECONDS: count(900, 'Wrong ones are counted for so long, seconds.', 1),
  AUTH_LOCK_SECONDS: count(900, 'Length of a lock, seconds.', 1),
  LOOKUP_MAX_REQUESTS: count(300, 'Look-ups of people by number, phone or email per person and window.', 1),
  LOOKUP_WINDOW_SECONDS: count(3_600, 'Length of that window, seconds.', 1),
  AUTH_VERIFICATION: choice<'off' | 'email' | 'phone'>(
    'off',
    ['off', 'email', 'phone'],
    'What a new account must prove before it can be used.',
  ),
  SMTP_URL: optional('Mail server for codes, e.g. smtps://user:password@mail.example.org.'),
  MAIL_FROM: text('Sealwire <no-reply@localhost>', 'Sender of those mails.'),
  SMS_WEBHOOK_URL: optional('Provider of text messages for codes: POST {"to", "text"} as JSON, answered by 2xx.'),
  SMS_WEBHOOK_TOKEN: optional('Sent there as Authorization: Bearer.'),
  DELIVERY_TIMEOUT_MS: count(10_000, 'How long mail server and provider may take.', 100),
  OTP_DEV_CODE: {
    ...optional('Every code is this one, and need not be sent; for development, refused in production.'),
    parse: (t: string, name: string) => (/^\d{6}$/.test(t) ? t : fail(name, 'six digits')),
  },
  CODE_TTL_SEC: count(300, 'Life of a code, seconds.', 1),
  CODE_MAX_TRIES: count(5, 'Tries at a code.', 1),
  CODE_MAX_SENT: count(5, 'Codes sent to one email address or phone per window.', 1),
  CODE_MAX_SENT_PER_IP: count(50, 'Codes asked for from one address per window.', 1),
  CODE_WINDOW_SECONDS: count(3_600, 'Length of that window, seconds.', 1),
  PERSONAL_KEYS: list(
    'Keys that encrypt phones, emails, names, birthdates and the key that signs tokens at rest, 32 bytes each in base64; the first one writes. Generated in the embedded default.',
  ),
  PERSONAL_INDEX_KEYS: list('Keys of the blind index by which those are found, likewise; others than PERSONAL_KEYS.'),
  REFRESH_RETRY_SEC: count(10, 'How long a used refresh token may be shown again because the reply was lost, seconds.'),
  REVOCATION_POLL_MS: count(
    500,
    'How often a process asks Postgres for ended sessions of which it may have missed the event, cut off from NATS or not.',
    100,
  ),
  TOKEN_CACHE_SIZE: count(20_000, 'Verified access tokens that a process remembers.', 1),
  ARGON2_MEMORY_KIB: count(19_456, 'Memory of a password hash (Argon2id), KiB.', 8),
  ARGON2_PASSES: count(2, 'Passes of a password hash over that memory.', 1),
  PASSWORD_QUEUE_MAX: count(500, 'Passwords waiting to be hashed; more are refused as unavailable.', 1),
  PASSWORD_MIN_LENGTH: count(8, 'Shortest password, characters.', 1),
  TICKET_TTL_SEC: count(30, 'Life of a socket ticket, seconds.', 1),
  COOKIE_SECURE: flag(true, 'Cookies of browsers come over https only (and from localhost).'),
  CORS_ORIGINS: list('Origins that may call the API from a browser; * for any outside production.'),
  // Events and webhooks
  EVENTS_RETENTION_DAYS: count(7, 'How long EVENTS keeps what happened, for workers and for `recover`.', 1),
  DELIVERED_EVENTS: flag(true, 'Make chat.message.delivered events, cumulative per device and conversation.'),
  ADMIN_TOKEN: optional('A service token for /v1/admin and /v1/webhooks; else one follows from NATS_SECRET.'),
  WEBHOOK_SECRETS_KEYS: list(
    'Keys (32 bytes, base64) that seal endpoint secrets: the first seals, all open; else one follows from NATS_SECRET.',
  ),
  CHAT_WEBHOOK_ENDPOINTS_JSON: optional(
    'Endpoints from the environment: a JSON array of {url, secret, event_types?, …}.',
  ),
  WEBHOOK_ALLOW_CIDRS: list('Private addresses that webhooks may reach all the same, e.g. 10.1.0.0/16.'),
  PUSH_ALLOW_CIDRS: list(
    'Private addresses that people may name as push endpoints, e.g. of a distributor of your own.',
  ),
  WEBHOOK_MAX_ENDPOINTS: count(1_000, 'Endpoints in all.', 1),
  WEBHOOK_URL_MAX_LENGTH: count(2_048, 'Longest address of an endpoint, characters.', 16),
  WEBHOOK_TIMEOUT_SECS: count(15, 'How long an attempt may take from dialling to the end of the reply, seconds.', 1),
  WEBHOOK_RESPONSE_MAX_BYTES: count(65_536, 'What is read of a reply, bytes; of it 1 KiB is kept.', 1),
  WEBHOOK_RETRY_SCHEDULE_SECS: counts(
    [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
    'Pauses before each attempt, seconds; after the last one a delivery is a dead letter.',
  ),
  WEBHOOK_RETRY_JITTER_PERCENT: count(20, 'How far a pause may be off its schedule, either way.'),
  WEBHOOK_RETRY_AFTER_MAX_SECS: count(86_400, 'The longest Retry-After that is heeded, seconds.'),
  WEBHOOK_DISABLE_AFTER_DAYS: count(5, 'After so long with nothing but failures an endpoint is disabled.', 1),
  WEBHOOK_CONCURRENCY: count(1_024, 'Attempts under way in one process.', 2),
  WEBHOOK_ENDPOINT_CONCURRENCY: count(
    8,
    'Attempts under way to one endpoint, per process; 1 until it has answered and while it fails.',
    1,
  ),
  WEBHOOK_SECRET_OVERLAP_HOURS: count(24, 'How long the old secret signs too after a rotation.'),
  WEBHOOK_LOG_DAYS: count(30, 'How long deliveries and their attempts are kept once they are over.', 1),
  // Payments
  PAYMENTS_WEBHOOK_SECRET: optional(
    'Signs what POST /payments/webhooks takes; outside production one follows from NATS_SECRET. Without any: 404.',
  ),
  PAYMENTS_MAX_BODY_BYTES: count(65_536, 'Largest payment event, bytes.', 1),
  PAYMENTS_WINDOW_SEC: count(300, 'How far X-Webhook-Ts may be off our clock, either way, seconds.', 1),
  PAYMENTS_RETENTION_DAYS: count(30, 'How long PAYMENTS keeps events, applied or not.', 1),
  PAYMENTS_MAX_BYTES: count(1 << 30, 'Bytes of payment events kept; beyond, senders are told to come again.', 1 << 20),
  // Push
  PUSH_DELAY_MS: count(500, 'How long after an item the wake-up goes out; what comes meanwhile is in it.'),
  PUSH_REPEAT_SEC: count(
    900,
    'After so long a device that was woken and did not come is woken again; then after 4 times as long.',
    1,
  ),
  PUSH_MAX_WAKES: count(3, 'Wake-ups of a device until it has been connected again.', 1),
  PUSH_MAX_TRIES: count(8, 'Attempts at one wake-up while its provider fails.', 1),
  PUSH_TTL_SEC: count(604_800, 'How long a provider keeps a wake-up for a device out of reach, seconds.'),
  PUSH_TIMEOUT_MS: count(10_000, 'How long an attempt may take, ms.', 100),
  PUSH_CONCURRENCY: count(128, 'Attempts under way in one process.', 1),
  VAPID_SUBJECT: text('mailto:admin@localhost', 'Whom push services may contact about our pushes (mailto: or https:).'),
  VAPID_PUBLIC_KEY: optional('Application server key (base64url); else one is made and kept in Postgres.'),
  VAPID_PRIVATE_KEY: optional('The private half of VAPID_PUBLIC_KEY.'),
  FCM_SERVICE_ACCOUNT_JSON: optional(
    'Service account of a Firebase project, as JSON or a path to it. Without: no FCM.',
  ),
  FCM_URL: text('https://fcm.googleapis.com', 'Where FCM is.'),
  APNS_KEY: optional('APNs signing key (.p8), as PEM or a path to it. Without: no APNs.'),
  APNS_KEY_ID: optional('Id of that key.'),
  APNS_TEAM_ID: optional('Team that it belongs to.'),
  APNS_TOPIC: optional('Bundle id of the app.'),
  APNS_URL: text('https://api.push.apple.com', 'Where APNs is; https://api.sandbox.push.apple.com for development.'),
} as const satisfies Record<string, Setting<unknown>>;

export type Config = { readonly [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> };

/** Reads the environment once; throws an error that names the variable and what it should be. */
export function readConfig(env: Record<string, string | undefined> = process.env): Config {
  const out: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(SETTINGS) as [string, Setting<unknown>][]) {
    const value = env[name];
    out[name] = value === undefined || value === '' ? setting.default : setting.parse(value, name);
  }
  out.DATA_DIR = resolve(String(out.DATA_DIR));
  const config = Object.freeze(out) as Config;
  if (config.NODE_ENV === 'production') refuseUnsafe(config);
  const [channel, url] =
    config.AUTH_VERIFICATION === 'email' ? ['SMTP_URL', config.SMTP_URL] : ['SMS_WEBHOOK_URL', config.SMS_WEBHOOK_URL];
  if (config.AUTH_VERIFICATION !== 'off' && !url && config.OTP_DEV_CODE === undefined)
    throw new Error(`AUTH_VERIFICATION=${config.AUTH_VERIFICATION} needs ${channel}`);
  return config;
}

function refuseUnsafe(config: Config): void {
  const wrong = [
    config.DURABILITY === 'fast' && !config.ALLOW_FAST && 'DURABILITY=fast without ALLOW_FAST=true',
    config.WS_ALLOW_QUERY_TOKEN && 'WS_ALLOW_QUERY_TOKEN=true',
    config.CORS_ORIGINS.includes('*') && 'CORS_ORIGINS=*',
    config.NATS_URL && !config.NATS_SECRET && 'a generated NATS_SECRET',
    config.OTP_DEV_CODE !== undefined && 'OTP_DEV_CODE',
    !config.COOKIE_SECURE && 'COOKIE_SECURE=false',
  ].filter(Boolean);
  if (wrong.length) throw new Error(`NODE_ENV=production refuses ${wrong.join(', ')}`);
}
