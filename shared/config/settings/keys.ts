import { advanced, count, type Setting } from '../kinds.ts';

/** Settings of the devices' keys. */
export const KEYS = {
  KEY_BACKUP_MAX_BYTES: count(
    262_144,
    'Largest encrypted backup of keys, bytes of UTF-8. A larger one is refused as too_large.',
    1,
  ),
  ...advanced({
    KEY_CLAIMS_MAX: count(
      120,
      'Most claims of one person’s keys by another person per KEY_CLAIMS_WINDOW_SEC. More are refused as rate_limited.',
      1,
    ),
    KEY_CLAIMS_WINDOW_SEC: count(3_600, 'Length of the window of KEY_CLAIMS_MAX, seconds.', 1),
    PREKEYS_LOW: count(
      10,
      'Stock of one-time keys of a kind at or below which the device receives keys.low, so that it adds more.',
    ),
    PREKEYS_MAX: count(
      2_000,
      'Most one-time keys that a device may have in stock, of all kinds together. A request that would exceed it is refused as too_large.',
      1,
    ),
    PREKEYS_LOW_AGAIN_SEC: count(3_600, 'Least time between two keys.low of one device and kind, seconds.'),
    PREKEY_MEMORY_DAYS: count(
      90,
      'How long a claimed key is remembered, days, so that a device cannot upload it a second time.',
      1,
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
