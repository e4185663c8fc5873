import { advanced, count, counts, flag, formerly, list, optional, type Setting } from '../kinds.ts';

/** Settings of events and webhooks. */
export const WEBHOOKS = {
  ADMIN_TOKEN: optional(
    'Service token for /v1/admin and /v1/webhooks. Outside production it is derived from NATS_SECRET by default; in production the api requires it.',
  ),
  WEBHOOK_SECRETS_KEYS: list(
    'Keys that encrypt the secrets of endpoints: 32 bytes each in base64. The first one encrypts, all of them decrypt. Outside production one is derived from NATS_SECRET by default; in production api and webhook require them.',
  ),
  CHAT_WEBHOOK_ENDPOINTS_JSON: optional(
    'Endpoints from the environment: a JSON array of {url, secret, event_types?, …}.',
  ),
  EVENTS_RETENTION_DAYS: count(
    7,
    'How long the stream EVENTS keeps events, days, for the webhook worker and for `recover`.',
    1,
  ),
  DELIVERED_EVENTS: flag(true, 'Make chat.message.delivered events, cumulative per device and conversation.'),
  WEBHOOK_ALLOW_CIDRS: list(
    'Networks of private addresses to which webhooks may be sent, e.g. 10.1.0.0/16. Others are refused.',
  ),
  PUSH_ALLOW_CIDRS: list(
    'Networks of private addresses to which pushes may be sent, e.g. of a push server of your own. Others are refused.',
  ),
  WEBHOOK_TIMEOUT_SEC: formerly(
    'WEBHOOK_TIMEOUT_SECS',
    count(15, 'How long one attempt may take from connecting to the end of the reply, seconds, before it fails.', 1),
  ),
  WEBHOOK_RETRY_SCHEDULE_SEC: formerly(
    'WEBHOOK_RETRY_SCHEDULE_SECS',
    counts(
      [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
      'Pause before each attempt at a delivery, seconds. When the last attempt fails, the delivery becomes a dead letter.',
    ),
  ),
  WEBHOOK_DISABLE_AFTER_DAYS: count(
    5,
    'An endpoint all of whose attempts have failed for this many days is disabled.',
    1,
  ),
  WEBHOOK_SECRET_OVERLAP_HOURS: count(
    24,
    'How long after a rotation deliveries are signed with the old secret too, hours.',
  ),
  WEBHOOK_LOG_DAYS: count(30, 'How long finished deliveries and their attempts are kept, days.', 1),
  WEBHOOK_CONCURRENCY: count(1_024, 'Most attempts under way in one process.', 2),
  ...advanced({
    WEBHOOK_ENDPOINT_CONCURRENCY: count(
      8,
      'Most attempts under way to one endpoint, per process. An endpoint that has not answered yet, or fails, gets one at a time.',
      1,
    ),
    WEBHOOK_URL_MAX_LENGTH: count(2_048, 'Longest address of an endpoint, characters. A longer one is refused.', 16),
    WEBHOOK_RESPONSE_MAX_BYTES: count(65_536, 'Most that is read of a reply, bytes; 1 KiB of it is kept.', 1),
    WEBHOOK_MAX_ENDPOINTS: count(1_000, 'Most endpoints. Creating more is refused as forbidden.', 1),
    WEBHOOK_RETRY_JITTER_PERCENT: count(
      20,
      'Most by which a pause may differ at random from WEBHOOK_RETRY_SCHEDULE_SEC, either way, percent.',
    ),
    WEBHOOK_RETRY_AFTER_MAX_SEC: formerly(
      'WEBHOOK_RETRY_AFTER_MAX_SECS',
      count(86_400, 'Longest Retry-After of an endpoint that is obeyed, seconds. A longer one counts as this long.'),
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
