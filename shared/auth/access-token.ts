/**
 * Parses and verifies an access token (JWT, RFC 9068) synchronously, so that the edge can answer an upgrade in the turn in
 * which it arrives. Only tokens that this system issues are accepted: alg, typ, iss and aud are pinned.
 */
import { type KeyObject, verify } from 'node:crypto';
import { ApiError } from '../contract/errors.ts';

export const ALG = 'EdDSA';
export const TYP = 'at+jwt';
/** Issuer and audience. */
export const NAME = 'sealwire';

export interface Claims {
  sub: string;
  did: string;
  sid: string;
  /** Seconds since 1970. */
  exp: number;
}
export interface Unchecked {
  kid: string;
  /** @throws {ApiError} `unauthenticated` or `token_expired` */
  check(key: KeyObject): Claims;
}

/** An Ed25519 signature is 64 bytes. */
const SHAPE = /^([\w-]{1,1024})\.([\w-]{1,4096})\.([\w-]{86})$/;
export const unauthenticated = (): ApiError => new ApiError('unauthenticated', 'the access token is not valid');
export const expired = (): ApiError => new ApiError('token_expired', 'the access token has expired');

function parseObject(base64url: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(Buffer.from(base64url, 'base64url').toString());
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {}
  throw unauthenticated();
}

/** Parses a token without verifying it. @throws {ApiError} `unauthenticated` for any token that this system does not issue */
export function readAccessToken(token: string): Unchecked {
  const [, head, body, signature] = SHAPE.exec(token) ?? [];
  if (head === undefined) throw unauthenticated();
  const { alg, typ, kid, crit, b64 } = parseObject(head);
  if (alg !== ALG || typ !== TYP || typeof kid !== 'string' || crit !== undefined || b64 !== undefined)
    throw unauthenticated();
  return {
    kid,
    check(key) {
      const signed = Buffer.from(token.slice(0, token.lastIndexOf('.')));
      if (!verify(null, signed, key, Buffer.from(signature!, 'base64url'))) throw unauthenticated();
      const { iss, aud, sub, did, sid, exp, nbf } = parseObject(body!);
      const isOurs = iss === NAME && (Array.isArray(aud) ? aud.includes(NAME) : aud === NAME);
      if (!isOurs || typeof sub !== 'string' || typeof did !== 'string' || typeof sid !== 'string')
        throw unauthenticated();
      if (typeof exp !== 'number' || !Number.isFinite(exp)) throw unauthenticated();
      if (nbf !== undefined && !(typeof nbf === 'number' && nbf * 1000 <= Date.now())) throw unauthenticated();
      if (exp * 1000 <= Date.now()) throw expired();
      return { sub, did, sid, exp };
    },
  };
}
