/** Who is signed in on which device, and HTTP calls in that name. */
import type { ErrorBody } from '../shared/contract/errors.ts';
import type { Device, User } from '../shared/contract/objects.ts';
import { isAuthError, SealwireError } from './errors.ts';
import { pageOrigin } from './refusal.ts';

/** What an application keeps to be still signed in tomorrow. Holds secrets. */
export interface SessionData {
  /** Base URL of the HTTP API, e.g. `http://127.0.0.1:8080`. */
  api: string;
  user: Pick<User, 'id'> & Partial<User>;
  device: Pick<Device, 'id'> & Partial<Device>;
  access_token: string;
  refresh_token?: string;
  /** Epoch milliseconds; unknown means: use the token until it is refused. */
  expires_at?: number;
}

/** What a way in is answered with. */
export interface Granted {
  user: User;
  device: Device;
  access_token: string;
  refresh_token: string;
  expires_in_sec: number;
}

/** Refreshed this long before its end, so that a token does not die on its way. */
const EARLY_MS = 30_000;

export function granted(api: string, { expires_in_sec, ...rest }: Granted): Session {
  return new Session({ api, ...rest, expires_at: Date.now() + expires_in_sec * 1000 });
}

export class Session implements SessionData {
  readonly api: string;
  user: SessionData['user'];
  device: SessionData['device'];
  access_token: string;
  refresh_token?: string;
  expires_at?: number;
  /** Called with the new tokens after each refresh, before they are used: the place to save them. */
  onchange?: (data: SessionData) => unknown;
  #refreshing: Promise<void> | undefined;

  constructor(data: SessionData) {
    this.api = data.api.replace(/\/+$/, '');
    this.user = data.user;
    this.device = data.device;
    this.access_token = data.access_token;
    if (data.refresh_token !== undefined) this.refresh_token = data.refresh_token;
    if (data.expires_at !== undefined) this.expires_at = data.expires_at;
  }

  /** An access token that is good for some time yet. @throws SealwireError `signed_out` when it can't be had any more. */
  async token(): Promise<string> {
    if (this.expires_at !== undefined && this.refresh_token && Date.now() > this.expires_at - EARLY_MS)
      await this.refresh();
    return this.access_token;
  }

  /** One HTTP call; `data` of the reply. A refused token is refreshed once. @throws SealwireError */
  async call<T>(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<T> {
    const token = await this.token();
    const send = (bearer: string): Promise<T> =>
      http<T>(this.api, method, path, body, { ...headers, authorization: `Bearer ${bearer}` });
    try {
      return await send(token);
    } catch (error) {
      if (!isAuthError(error) || !this.refresh_token) throw error;
      if (this.access_token === token) await this.refresh();
      return send(this.access_token);
    }
  }

  /** Rotates the tokens. Calls at the same time share one rotation, for a second use of a token revokes its family. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#rotate().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #rotate(): Promise<void> {
    if (!this.refresh_token)
      throw new SealwireError('signed_out', 'the access token is refused and there is no refresh token');
    try {
      const granted = await http<Omit<Granted, 'user' | 'device'>>(this.api, 'POST', '/v1/auth/refresh', {
        refresh_token: this.refresh_token,
      });
      this.access_token = granted.access_token;
      this.refresh_token = granted.refresh_token;
      this.expires_at = Date.now() + granted.expires_in_sec * 1000;
    } catch (error) {
      if (!isAuthError(error)) throw error;
      throw new SealwireError('signed_out', 'the session has ended; log in again', { cause: error });
    }
    await this.onchange?.(this.toJSON());
  }

  toJSON(): SessionData {
    const { api, user, device, access_token, refresh_token, expires_at } = this;
    return {
      api,
      user,
      device,
      access_token,
      ...(refresh_token === undefined ? {} : { refresh_token }),
      ...(expires_at === undefined ? {} : { expires_at }),
    };
  }
}

/** @throws SealwireError; `unavailable` when the server can't be reached or answers with something else than JSON. */
export async function http<T>(
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
    const origin = pageOrigin();
    // To a page a refused origin looks like a server that is away.
    const hint = origin === undefined ? '' : `; if it is up, its setting ALLOWED_ORIGINS may lack ${origin}`;
    throw new SealwireError('unavailable', `${method} ${path} got no proper reply${hint}`, { cause });
  }
  if (!ok || reply.error) throw SealwireError.from(reply.error ?? {});
  return reply.data as T;
}
