import { count, type Setting } from '../kinds.ts';

/** Settings: Keys. */
export const KEYS = {
  PREKEYS_MAX: count(2_000, 'One-time keys that a device may have waiting, of all kinds together.', 1),
  PREKEYS_LOW: count(10, 'One-time keys of a kind at which their device is told to add more.'),
  PREKEYS_LOW_AGAIN_SEC: count(3_600, 'How long after that it is not told again, seconds.'),
  PREKEY_MEMORY_DAYS: count(90, 'How long a key that was handed out is remembered, so that it is not taken again.', 1),
  KEY_CLAIMS_MAX: count(120, 'Claims of the keys of one person by another, per window.', 1),
  KEY_CLAIMS_WINDOW_SEC: count(3_600, 'Length of that window, seconds.', 1),
  KEY_BACKUP_MAX_BYTES: count(262_144, 'Largest encrypted backup of keys, bytes of UTF-8.', 1),
} as const satisfies Record<string, Setting<unknown>>;
