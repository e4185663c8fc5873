import { advanced, count, flag, origins, type Setting } from '../kinds.ts';

/** Settings of the HTTP API. */
export const API = {
  ALLOWED_ORIGINS: origins(
    'Origins of the pages that may use the API and the socket from a browser, e.g. https://chat.example.org; * allows any, but not in production. Pages of the same host are always allowed, and outside production those of http://localhost on every port.',
  ),
  HTTP_TRUST_PROXY: flag(
    false,
    'Deprecated, goes with the next release: set TRUSTED_PROXIES instead. The API believes the last entry of X-Forwarded-For from every caller.',
  ),
  ...advanced({
    HTTP_MAX_BODY_BYTES: count(
      1 << 20,
      'Largest body of a request that carries messages, keys or lists, bytes. A larger one is refused as too_large.',
      1024,
    ),
    HTTP_SMALL_BODY_BYTES: count(
      16_384,
      'Largest body of any other request, and of each request without a token, bytes. A larger one is refused as too_large.',
      1024,
    ),
    HTTP_BODIES_MAX_BYTES: count(
      32 << 20,
      'Most bytes of request bodies that one process holds at a time. More are refused as unavailable.',
      1024,
    ),
    HTTP_BODIES_MAX_BYTES_PER_CALLER: count(
      4 << 20,
      'Most of these bytes for one person, or for one address without a token. More are refused as rate_limited.',
      1024,
    ),
    HTTP_REQUEST_TIMEOUT_SEC: count(
      30,
      'How long a client may take to send its request, seconds. The connection is closed afterwards.',
      1,
    ),
    READ_YOUR_WRITES_MS: count(
      2_000,
      'How long a request that creates something waits to read it back from Postgres, ms. Afterwards it answers with what it knows itself.',
    ),
  }),
} as const satisfies Record<string, Setting<unknown>>;
