/** Posts one attempt over HTTP: to an address that the egress guard allows, without redirects, bounded in time and bytes. */
import { Agent, buildConnector, request } from 'undici';
import type { Config } from '../../shared/config/index.ts';
import {
  AddressRefused,
  addressLiteral,
  type EgressGuard,
  guardedLookup,
  type Resolve,
} from '../../shared/egress-guard.ts';
import { retryAfterMs } from '../../shared/retry-after.ts';

export interface AttemptOutcome {
  delivered: boolean;
  /** Of the reply; undefined where there was none. */
  status?: number;
  /** Why it failed: `http_500`, `redirect`, `timeout`, `address_refused`, `ECONNREFUSED` … */
  error?: string;
  /** The beginning of the reply. */
  response?: string;
  retry_after_ms?: number;
}

/** The error of attempts that `close` ended. */
export const POSTER_CLOSED = 'UND_ERR_DESTROYED';
/** Bytes of a reply that are kept for the log of attempts. */
const KEPT_BYTES = 1_024;
const KEEP_ALIVE_MS = 30_000;

export interface Poster {
  post(url: string, headers: Record<string, string>, body: string, now: number): Promise<AttemptOutcome>;
  /** Ends the attempts under way. */
  close(): Promise<void>;
}

export function openPoster(config: Config, guard: EgressGuard, resolve?: Resolve): Poster {
  const timeoutMs = config.WEBHOOK_TIMEOUT_SEC * 1_000;
  // The connector passes options that it does not know to the socket.
  const options = { timeout: timeoutMs, lookup: guardedLookup(guard, resolve), autoSelectFamily: true };
  const dial = buildConnector(options as buildConnector.BuildOptions);
  const agent = new Agent({
    // A socket calls `lookup` for names only, so an address in the URL is checked here.
    connect(options, callback) {
      const address = addressLiteral(options.hostname);
      if (address && !guard(address)) callback(new AddressRefused('the address is not public'), null);
      else dial(options, callback);
    },
    // As many connections as attempts: endpoints at one address must not wait for each other.
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxResponseSize: -1,
  });

  return {
    async post(url, headers, body, now) {
      const signal = AbortSignal.timeout(timeoutMs);
      try {
        const reply = await request(url, { method: 'POST', dispatcher: agent, headers, body, signal });
        const { statusCode: status } = reply;
        const response = await readBeginning(reply.body, config.WEBHOOK_RESPONSE_MAX_BYTES);
        if (status >= 200 && status < 300) return { delivered: true, status, response };
        const askedMs = retryAfterMs(reply.headers['retry-after'], now);
        return {
          delivered: false,
          status,
          response,
          error: status >= 300 && status < 400 ? 'redirect' : `http_${status}`,
          ...(askedMs !== undefined && { retry_after_ms: askedMs }),
        };
      } catch (error) {
        return { delivered: false, error: signal.aborted ? 'timeout' : reasonOf(error) };
      }
    },
    close: () => agent.destroy(),
  };
}

/** Returns the beginning of a reply as text. A reply of more than `limit` bytes is cut off. */
async function readBeginning(body: AsyncIterable<Buffer> & { destroy(): void }, limit: number): Promise<string> {
  const kept: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    if (size < KEPT_BYTES) kept.push(chunk.subarray(0, KEPT_BYTES - size));
    size += chunk.length;
    if (size > limit) break;
  }
  if (size > limit) body.destroy();
  // Postgres stores no NUL. A character that was cut in the middle becomes U+FFFD.
  return Buffer.concat(kept).toString().replaceAll('\0', '\ufffd');
}

/** The word of the log for a failed request: a code of the system or of undici where there is one. */
function reasonOf(error: unknown): string {
  for (let e = error as { name?: string; code?: unknown; cause?: unknown } | undefined; e; e = e.cause as typeof e) {
    if (e.name === 'AddressRefused') return 'address_refused';
    if (typeof e.code === 'string') return e.code.slice(0, 64);
  }
  return 'failed';
}
