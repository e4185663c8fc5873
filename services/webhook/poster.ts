/** One attempt over HTTP: a signed POST to an address that the guard lets pass, no redirects, bounded in time and bytes. */
import { Agent, buildConnector, request } from 'undici';
import type { Config } from '../../shared/config/index.ts';
import { AddressRefused, type Guard, guardedLookup, literal, type Resolve } from '../../shared/egress-guard.ts';
import { retryAfterMs } from './retry-schedule.ts';

export interface Outcome {
  delivered: boolean;
  /** Of the reply; undefined where there was none. */
  status?: number;
  /** Why it failed: `http_500`, `redirect`, `timeout`, `address_refused`, `ECONNREFUSED` … */
  error?: string;
  /** What is kept of the reply. */
  response?: string;
  retry_after_ms?: number;
}

/** The error of attempts that `close` put an end to. */
export const CUT = 'UND_ERR_DESTROYED';
const KEPT_BYTES = 1_024;
const KEEP_ALIVE_MS = 30_000;

export interface Poster {
  post(url: string, headers: Record<string, string>, body: string, now: number): Promise<Outcome>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

export function openPoster(config: Config, guard: Guard, resolve?: Resolve): Poster {
  const timeout = config.WEBHOOK_TIMEOUT_SEC * 1_000;
  // What it doesn't know it passes on to the socket.
  const options = { timeout, lookup: guardedLookup(guard, resolve), autoSelectFamily: true };
  const dial = buildConnector(options as buildConnector.BuildOptions);
  const agent = new Agent({
    // Sockets ask no lookup about literals.
    connect(options, callback) {
      const address = literal(options.hostname);
      if (address && !guard(address)) callback(new AddressRefused('the address is not public'), null);
      else dial(options, callback);
    },
    // As many connections as lanes: endpoints at one address must not wait for each other.
    pipelining: 1,
    keepAliveTimeout: KEEP_ALIVE_MS,
    maxResponseSize: -1,
  });

  return {
    async post(url, headers, body, now) {
      const signal = AbortSignal.timeout(timeout);
      try {
        const reply = await request(url, { method: 'POST', dispatcher: agent, headers, body, signal });
        const { statusCode: status } = reply;
        const response = await read(reply.body, config.WEBHOOK_RESPONSE_MAX_BYTES);
        if (status >= 200 && status < 300) return { delivered: true, status, response };
        const [given] = [reply.headers['retry-after']].flat();
        const asked = retryAfterMs(given, now);
        return {
          delivered: false,
          status,
          response,
          error: status >= 300 && status < 400 ? 'redirect' : `http_${status}`,
          ...(asked !== undefined && { retry_after_ms: asked }),
        };
      } catch (error) {
        return { delivered: false, error: signal.aborted ? 'timeout' : reason(error) };
      }
    },
    close: () => agent.destroy(),
  };
}

/** The beginning as text. An endpoint that says more than it may is not listened to any further. */
async function read(body: AsyncIterable<Buffer> & { destroy(): void }, limit: number): Promise<string> {
  const kept: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    if (size < KEPT_BYTES) kept.push(chunk.subarray(0, KEPT_BYTES - size));
    size += chunk.length;
    if (size > limit) break;
  }
  if (size > limit) body.destroy();
  // Postgres keeps no NUL; what is cut in the middle of a character ends in a replacement.
  return Buffer.concat(kept).toString().replaceAll('\0', '\ufffd');
}

function reason(error: unknown): string {
  for (let e = error as { name?: string; code?: unknown; cause?: unknown } | undefined; e; e = e.cause as typeof e) {
    if (e.name === 'AddressRefused') return 'address_refused';
    if (typeof e.code === 'string') return e.code.slice(0, 64);
  }
  return 'failed';
}
