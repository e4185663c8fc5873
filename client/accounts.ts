/** Ways in, and what their owner does with sessions and account. Everything here throws SealwireError. */
import { SealwireError } from './errors.ts';
import { type TokenResponse, createSession, requestApi, type Session } from './session.ts';

export interface NewDevice {
  name: string;
  platform?: string;
}
export interface Registration {
  api: string;
  username?: string;
  email?: string;
  phone?: string;
  password: string;
  name?: string;
  device: NewDevice;
  keys?: { identity_key: string; registration_id?: number };
  /** Asked for the code that was sent, where the server verifies addresses. Without it, go on with `verify`. */
  code?: (user_id: string) => Promise<string>;
}
/** Exactly one of them. */
export type Address = { phone: string } | { email: string };
export interface AccountSession {
  id: string;
  /** The one that asks. */
  current: boolean;
  device: { id: string; name: string; platform: string };
  ip: string | null;
  created_at: string;
  last_seen: string | null;
}

/**
 * Makes an account and its first device. `conflict`: the identifier is taken; `verification_needed` where the server
 * has sent a code and nobody was given to ask for it, with `details.user_id` for `verify`.
 */
export async function register({ api, code, ...body }: Registration): Promise<Session> {
  const reply = await requestApi<TokenResponse | { user_id: string }>(api, 'POST', '/v1/auth/register', body);
  if (!('user_id' in reply)) return createSession(api, reply);
  const { user_id } = reply;
  if (!code) throw new SealwireError('verification_needed', 'enter the code that was sent', { details: { user_id } });
  return await verify({ api, user_id, code: await code(user_id) });
}

/** Completes a registration. `code_invalid`: wrong, used, expired or tried too often. */
export async function verify({ api, ...body }: { api: string; user_id: string; code: string }): Promise<Session> {
  return createSession(api, await requestApi<TokenResponse>(api, 'POST', '/v1/auth/verify', body));
}

/** Signs in a new device, or with `device.id` one that this person has already. `rate_limited`: locked for `retry_after_ms`. */
export async function login(options: {
  api: string;
  /** Username, email, phone or number. */
  identifier: string;
  password: string;
  device: NewDevice | { id: string };
}): Promise<Session> {
  const { api, ...body } = options;
  return createSession(api, await requestApi<TokenResponse>(api, 'POST', '/v1/auth/login', body));
}

/** Has a code sent. @returns how long it is good, ms */
export async function requestCode(api: string, to: Address): Promise<number> {
  const { expires_in_sec } = await requestApi<{ expires_in_sec: number }>(api, 'POST', '/v1/auth/otp/request', to);
  return expires_in_sec * 1_000;
}

/** Signs in by that code; makes the account, with `name`, where there is none. */
export async function loginByCode(
  options: Address & { api: string; code: string; device: NewDevice | { id: string }; name?: string },
): Promise<Session> {
  const { api, ...body } = options;
  return createSession(api, await requestApi<TokenResponse>(api, 'POST', '/v1/auth/otp/verify', body));
}

/** The newest first. */
export async function listSessions(session: Session): Promise<AccountSession[]> {
  const all: AccountSession[] = [];
  let query = '';
  for (;;) {
    type Page = { items: AccountSession[]; next_cursor: string | null };
    const { items, next_cursor } = await session.call<Page>('GET', `/v1/sessions${query}`);
    all.push(...items);
    if (next_cursor === null) return all;
    query = `?cursor=${encodeURIComponent(next_cursor)}`;
  }
}

export async function endSession(session: Session, id: string): Promise<void> {
  await session.call('DELETE', `/v1/sessions/${id}`);
}

/** @returns how many ended */
export async function endOtherSessions(session: Session): Promise<number> {
  return (await session.call<{ revoked: number }>('POST', '/v1/sessions/revoke_all')).revoked;
}

/** Ends this session; its device, if connected, closes with `signed_out`. */
export async function logout(session: Session): Promise<void> {
  await session.call('POST', '/v1/auth/logout');
}

export async function logoutEverywhere(session: Session): Promise<void> {
  await session.call('POST', '/v1/auth/logout_all');
}

/** All other sessions end. `old_password` is not asked of who came in by codes only. */
export async function changePassword(session: Session, new_password: string, old_password?: string): Promise<void> {
  const body = { new_password, ...(old_password !== undefined && { old_password }) };
  await session.call('POST', '/v1/auth/password', body);
}

/** There is no way back. */
export async function deleteAccount(session: Session, password?: string): Promise<void> {
  await session.call('DELETE', '/v1/users/me', password === undefined ? {} : { password });
}
