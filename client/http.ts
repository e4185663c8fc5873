/** Sends HTTP requests to the API and turns every failure into a SealwireError. */
import type { ErrorBody } from '../shared/contract/errors.ts';
import { SealwireError } from './errors.ts';

/** The origin of the page that runs this code; undefined outside a browser. */
export const currentOrigin = (): string | undefined =>
  (globalThis as { location?: { origin?: string } }).location?.origin;

/**
 * Sends one request without a session.
 * @returns `data` of the reply
 * @throws SealwireError with the code of the API; `unavailable` when the server can't be reached or replies with something other than JSON
 */
export async function requestApi<T>(
  api: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<T> {
  let reply: { data?: T; error?: ErrorBody };
  let ok: boolean;
  try {
    const response = await fetch(api.replace(/\/+$/, '') + path, {
      method,
      headers: body === undefined ? headers : { 'content-type': 'application/json', ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    ok = response.ok;
    const text = await response.text();
    reply = text === '' ? {} : JSON.parse(text);
  } catch (cause) {
    const origin = currentOrigin();
    // A page cannot tell a refused origin from an unreachable server, so the message names both.
    const hint = origin === undefined ? '' : `; if the server is up, its setting ALLOWED_ORIGINS may lack ${origin}`;
    throw new SealwireError('unavailable', `${method} ${path} got no valid reply${hint}`, { cause });
  }
  if (!ok || reply.error) throw SealwireError.from(reply.error ?? {});
  return reply.data as T;
}
