/** Registers and logs in people, and manages their sessions and accounts. Every function here throws SealwireError. */
import { SealwireError } from './errors.ts';
import { requestApi } from './http.ts';
import { fetchAll } from './pagination.ts';
import { createSession, type Session, type TokenResponse } from './session.ts';

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
  /** Returns the code that the person received, where the server verifies addresses. Without it, call `verify` afterwards. */
  code?: (user_id: string) => Promise<string>;
}
/** Exactly one of phone and email. */
export type Address = { phone: string } | { email: string };
export interface AccountSession {
  id: string;
  /** True for the session that makes this request. */
  current: boolean;
  device: { id: string; name: string; platform: string };
  ip: string | null;
  created_at: string;
  last_seen: string | null;
}

/**
 * Creates an account and its first device.
 * @throws SealwireError `conflict` when the identifier is taken; `verification_needed` when the server has sent a code and
 * no `code` function was given, with `details.user_id` for `verify`
 */
export async function register({ api, code, ...body }: Registration): Promise<Session> {
  const reply = await requestApi<TokenResponse | { user_id: string }>(api, 'POST', '/v1/auth/register', body);
  if (!('user_id' in reply)) return createSession(api, reply);
  const { user_id } = reply;
  if (!code)
    throw new SealwireError('verification_needed', 'the server has sent a code; pass it to verify', {
      details: { user_id },
    });
  return await verify({ api, user_id, code: await code(user_id) });
}

/** Completes a registration. @throws SealwireError `code_invalid` when the code is wrong, used, expired or was tried too often */
export async function verify({ api, ...body }: { api: string; user_id: string; code: string }): Promise<Session> {
  return createSession(api, await requestApi<TokenResponse>(api, 'POST', '/v1/auth/verify', body));
}

/**
 * Signs in a new device or, with `device.id`, an existing device of this person.
 * @throws SealwireError `rate_limited` when the account is locked for `retry_after_ms`
 */
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

/** Asks the server to send a code. @returns how long the code is valid, ms */
export async function requestCode(api: string, to: Address): Promise<number> {
  const { expires_in_sec } = await requestApi<{ expires_in_sec: number }>(api, 'POST', '/v1/auth/otp/request', to);
  return expires_in_sec * 1_000;
}

/** Signs in with the code of `requestCode`. Creates the account, with `name`, if there is none. */
export async function loginByCode(
  options: Address & { api: string; code: string; device: NewDevice | { id: string }; name?: string },
): Promise<Session> {
  const { api, ...body } = options;
  return createSession(api, await requestApi<TokenResponse>(api, 'POST', '/v1/auth/otp/verify', body));
}

/** Lists the sessions of this person, the newest first. */
export const listSessions = (session: Session): Promise<AccountSession[]> => fetchAll(session, '/v1/sessions');

/** Ends one session of this person. */
export async function endSession(session: Session, id: string): Promise<void> {
  await session.call('DELETE', `/v1/sessions/${id}`);
}

/** Ends all sessions of this person except this one. @returns how many ended */
export async function endOtherSessions(session: Session): Promise<number> {
  return (await session.call<{ revoked: number }>('POST', '/v1/sessions/revoke_all')).revoked;
}

/** Ends this session. Its device, if connected, closes with `signed_out`. */
export async function logout(session: Session): Promise<void> {
  await session.call('POST', '/v1/auth/logout');
}

/** Ends all sessions of this person, this one included. */
export async function logoutEverywhere(session: Session): Promise<void> {
  await session.call('POST', '/v1/auth/logout_all');
}

/** Sets a new password and ends all other sessions. People who only log in by code need no `old_password`. */
export async function changePassword(session: Session, new_password: string, old_password?: string): Promise<void> {
  const body = { new_password, ...(old_password !== undefined && { old_password }) };
  await session.call('POST', '/v1/auth/password', body);
}

/** Deletes the account for good. */
export async function deleteAccount(session: Session, password?: string): Promise<void> {
  await session.call('DELETE', '/v1/users/me', password === undefined ? {} : { password });
}
