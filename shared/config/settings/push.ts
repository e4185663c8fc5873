import { count, optional, type Setting, text } from '../kinds.ts';

/** Settings: Push. */
export const PUSH = {
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
