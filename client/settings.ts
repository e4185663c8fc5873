/** What a Device can be told beside its session; durations in milliseconds. */
export const DEVICE_SETTINGS = {
  /** Sends waiting for their ack; one more is refused with `outbox_full`. */
  outbox_max: 10_000,
  /** Sends on their way at once. 1 keeps order even where the server refuses one and takes the next. */
  in_flight: 1_024,
  /** Items after which the cursor is acknowledged at once, not with the next round of `ACK_WITHIN_MS`. */
  ack_every: 64,
  /** Reconnecting waits a random time up to `min(cap, base · 2^attempt)` (full jitter). */
  backoff_base_ms: 250,
  backoff_cap_ms: 30_000,
  /** How long connecting may take until `connection.welcome`. */
  handshake_ms: 10_000,
  /** Silence after which the server is pinged, and after as much again given up. 0: the server's heartbeat. */
  silence_ms: 0,
} as const;

export type DeviceSettings = { [K in keyof typeof DEVICE_SETTINGS]: number };
