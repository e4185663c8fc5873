import { count, flag, type Setting } from '../kinds.ts';

/** Settings: HTTP API. */
export const API = {
  HTTP_MAX_BODY_BYTES: count(
    1 << 20,
    'Largest body of an HTTP request that carries messages, keys or lists, bytes.',
    1024,
  ),
  HTTP_SMALL_BODY_BYTES: count(
    16_384,
    'Largest body of a request without a token, and of every call that needs no more, bytes.',
    1024,
  ),
  HTTP_BODIES_MAX_BYTES: count(
    32 << 20,
    'Bytes of request bodies that one process holds at a time; more are refused as unavailable.',
    1024,
  ),
  HTTP_BODIES_MAX_BYTES_PER_CALLER: count(
    4 << 20,
    'Of these, bytes of one person, or of one address without a token; more are refused as rate_limited.',
    1024,
  ),
  HTTP_REQUEST_TIMEOUT_SEC: count(30, 'How long a client may take to send its request, seconds.', 1),
  HTTP_TRUST_PROXY: flag(
    false,
    'Until the next release: the API believes the last entry of X-Forwarded-For, whoever wrote it. Set TRUSTED_PROXIES instead.',
  ),
  READ_YOUR_WRITES_MS: count(2_000, 'How long creating a conversation waits to see it in the projection.'),
} as const satisfies Record<string, Setting<unknown>>;
