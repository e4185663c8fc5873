import { count, counts, flag, list, optional, type Setting } from '../kinds.ts';

/** Settings: Events and webhooks. */
export const WEBHOOKS = {
  EVENTS_RETENTION_DAYS: count(7, 'How long EVENTS keeps what happened, for workers and for `recover`.', 1),
  DELIVERED_EVENTS: flag(true, 'Make chat.message.delivered events, cumulative per device and conversation.'),
  ADMIN_TOKEN: optional(
    'A service token for /v1/admin and /v1/webhooks; outside production one follows from NATS_SECRET, in production the api demands it.',
  ),
  WEBHOOK_SECRETS_KEYS: list(
    'Keys (32 bytes, base64) that seal endpoint secrets: the first seals, all open; outside production one follows from NATS_SECRET, in production api and webhook demand it.',
  ),
  CHAT_WEBHOOK_ENDPOINTS_JSON: optional(
    'Endpoints from the environment: a JSON array of {url, secret, event_types?, …}.',
  ),
  WEBHOOK_ALLOW_CIDRS: list('Private addresses that webhooks may reach all the same, e.g. 10.1.0.0/16.'),
  PUSH_ALLOW_CIDRS: list(
    'Private addresses that people may name as push endpoints, e.g. of a distributor of your own.',
  ),
  EVENTS_WINDOW: count(64, 'Log entries that events pulls ahead, per partition.', 1),
  EVENTS_MAX_PER_MESSAGE: count(2_500, 'Events in one message of EVENTS: 1 MB of the 8 MB that the broker takes.', 1),
  WEBHOOK_WINDOW: count(64, 'Messages of EVENTS that the webhook worker pulls ahead.', 1),
  WEBHOOK_MAX_ENDPOINTS: count(1_000, 'Endpoints in all.', 1),
  WEBHOOK_URL_MAX_LENGTH: count(2_048, 'Longest address of an endpoint, characters.', 16),
  WEBHOOK_TIMEOUT_SEC: count(15, 'How long an attempt may take from dialling to the end of the reply, seconds.', 1),
  WEBHOOK_RESPONSE_MAX_BYTES: count(65_536, 'What is read of a reply, bytes; of it 1 KiB is kept.', 1),
  WEBHOOK_RETRY_SCHEDULE_SEC: counts(
    [0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
    'Pauses before each attempt, seconds; after the last one a delivery is a dead letter.',
  ),
  WEBHOOK_RETRY_JITTER_PERCENT: count(20, 'How far a pause may be off its schedule, either way.'),
  WEBHOOK_RETRY_AFTER_MAX_SEC: count(86_400, 'The longest Retry-After that is heeded, seconds.'),
  WEBHOOK_DISABLE_AFTER_DAYS: count(5, 'After so long with nothing but failures an endpoint is disabled.', 1),
  WEBHOOK_CONCURRENCY: count(1_024, 'Attempts under way in one process.', 2),
  WEBHOOK_ENDPOINT_CONCURRENCY: count(
    8,
    'Attempts under way to one endpoint, per process; 1 until it has answered and while it fails.',
    1,
  ),
  WEBHOOK_SECRET_OVERLAP_HOURS: count(24, 'How long the old secret signs too after a rotation.'),
  WEBHOOK_LOG_DAYS: count(30, 'How long deliveries and their attempts are kept once they are over.', 1),
} as const satisfies Record<string, Setting<unknown>>;
