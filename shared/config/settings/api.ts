import { count, flag, type Setting } from '../kinds.ts';

/** Settings: HTTP API. */
export const API = {
  HTTP_MAX_BODY_BYTES: count(1 << 20, 'Largest body of an HTTP request, bytes.', 1024),
  HTTP_REQUEST_TIMEOUT_SEC: count(30, 'How long a client may take to send its request, seconds.', 1),
  HTTP_TRUST_PROXY: flag(
    false,
    'Until the next release: the API believes the last entry of X-Forwarded-For, whoever wrote it. Set TRUSTED_PROXIES instead.',
  ),
  READ_YOUR_WRITES_MS: count(2_000, 'How long creating a conversation waits to see it in the projection.'),
} as const satisfies Record<string, Setting<unknown>>;
