import { advanced, count, optional, type Setting, text } from '../kinds.ts';

/** Settings of push: wake-ups of devices that are away. */
export const PUSH = {
  PUSH_TTL_SEC: count(604_800, 'How long a provider keeps a wake-up for a device that is out of reach, seconds.'),
  VAPID_SUBJECT: text(
    'mailto:admin@localhost',
    'Contact (mailto: or https:) that push services may use when our pushes cause trouble.',
  ),
  VAPID_PUBLIC_KEY: optional('Application server key (base64url). By default one is made and kept in Postgres.'),
  VAPID_PRIVATE_KEY: optional('Private key that belongs to VAPID_PUBLIC_KEY (base64url).'),
  FCM_SERVICE_ACCOUNT_JSON: optional(
    'Service account of a Firebase project, as JSON or as the path of a file. Without it FCM is off.',
  ),
  APNS_KEY: optional('APNs signing key (.p8), as PEM or as the path of a file. Without it APNs is off.'),
  APNS_KEY_ID: optional('Id of APNS_KEY.'),
  APNS_TEAM_ID: optional('Apple team that APNS_KEY belongs to.'),
  APNS_TOPIC: optional('Bundle id of the app.'),
  APNS_URL: text(
    'https://api.push.apple.com',
    'Address of APNs; https://api.sandbox.push.apple.com for development builds.',
  ),
  ...advanced({
    PUSH_DELAY_MS: count(
      500,
      'How long after an item its wake-up is sent, ms. Items that follow within that time need no other one.',
    ),
    PUSH_MAX_WAKES: count(3, 'Most wake-ups of a device until it has been connected again.', 1),
    PUSH_REPEAT_SEC: count(
      900,
      'How long after a wake-up a device that did not connect is woken again, seconds; after the next one 4 times as long.',
      1,
    ),
    FCM_URL: text('https://fcm.googleapis.com', 'Address of FCM.'),
    PUSH_MAX_TRIES: count(
      8,
      'Most attempts at one wake-up while its provider fails. Afterwards the device is woken by its next item.',
      1,
    ),
    PUSH_TIMEOUT_MS: count(10_000, 'How long one attempt may take, ms, before it counts as failed.', 100),
    PUSH_CONCURRENCY: count(128, 'Most attempts under way in one process.', 1),
  }),
} as const satisfies Record<string, Setting<unknown>>;
