/** The settings of a Device and their defaults; durations in milliseconds. */
export const DEVICE_SETTINGS = {
  /** Most unanswered sends. One more is refused with `outbox_full`. */
  outbox_max: 10_000,
  /** Most sends in flight at once. With 1 the order is kept even when the server refuses a message and accepts the next. */
  in_flight: 1_024,
  /** Handled items after which the cursor is acknowledged at once instead of within 50 ms. */
  ack_every: 64,
  /** A reconnect waits a random time up to `min(cap, base · 2^attempt)` (full jitter). */
  backoff_base_ms: 250,
  backoff_cap_ms: 30_000,
  /** Longest time from connecting to `connection.welcome`. */
  handshake_ms: 10_000,
  /** Silence after which the server is pinged; after the same time again the socket is given up. 0: the server's heartbeat. */
  silence_ms: 0,
} as const;

export type DeviceSettings = { [K in keyof typeof DEVICE_SETTINGS]: number };
