/** Brings the identifiers of people (phone, email, username) into the one form that is stored and compared. */
import { domainToASCII } from 'node:url';
import { parsePhoneNumberFromString } from 'libphonenumber-js';
import { ApiError } from '../../../shared/contract/errors.ts';

export type IdentifierKind = 'phone' | 'email' | 'username';
/** An identifier in its normal form. */
export interface Named {
  kind: IdentifierKind | 'number';
  value: string;
}

/** Gives E.164. The number is possible in its country; whether it is assigned is not known. */
function normalisePhone(text: string): string | undefined {
  if (!text.trim().startsWith('+')) return undefined;
  const parsed = parsePhoneNumberFromString(text.trim(), { extract: false });
  return parsed?.isPossible() && !parsed.ext ? parsed.number : undefined;
}

/** One part between dots of an unquoted local part (RFC 5321, RFC 6531), without characters that are invisible. */
const ATOM = String.raw`(?:[a-z0-9!#$%&'*+/=?^_\x60{|}~-]|[^\p{ASCII}\p{C}\p{Z}\p{Default_Ignorable_Code_Point}])+`;
const LOCAL = new RegExp(String.raw`^${ATOM}(?:\.${ATOM})*$`, 'u');
/** Excludes characters with which a URL parser would read a port, a path, an escape or an address. */
const HOST = /^(?:[a-z0-9.-]|\P{ASCII})+$/iu;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const DOMAIN = new RegExp(`^(?:${LABEL}\\.)+(?![0-9]+$)${LABEL}$`);

/** Gives the domain as in DNS (UTS #46), and the local part in lower case, which today's mail systems do not distinguish. */
function normaliseEmail(text: string): string | undefined {
  const [, before, host] = /^([^@]{1,64})@([^@]{1,253})$/u.exec(text.trim().normalize('NFKC')) ?? [];
  if (!before || !host || !HOST.test(host)) return undefined;
  const local = before.toLowerCase().normalize('NFKC');
  const domain = domainToASCII(host);
  const address = `${local}@${domain}`;
  return LOCAL.test(local) && DOMAIN.test(domain) && address.length <= 254 ? address : undefined;
}

/**
 * Maps width, case and composition like UsernameCaseMapped (RFC 8265), and then accepts only ASCII, so that no two names look
 * alike. A name has a letter and no @, so it cannot be mistaken for a number, a phone or an email.
 */
function normaliseUsername(text: string): string | undefined {
  const name = text.trim().normalize('NFKC').toLowerCase();
  return /^(?=.*[a-z])[a-z0-9][a-z0-9_.]{2,31}$/.test(name) ? name : undefined;
}

interface Form {
  /** @returns undefined for a text that is no such identifier. */
  normalise(text: string): string | undefined;
  rule: string;
}
const FORMS: Record<IdentifierKind, Form> = {
  phone: { normalise: normalisePhone, rule: 'be a number in international form, such as +15550100123' },
  email: { normalise: normaliseEmail, rule: 'be an email address' },
  username: { normalise: normaliseUsername, rule: 'have 3 to 32 characters of a-z 0-9 _ . and at least one letter' },
};

/** @throws {ApiError} `invalid_request` naming the field. */
export function normaliseIdentifier(kind: IdentifierKind, text: string): string {
  const { normalise, rule } = FORMS[kind];
  const value = normalise(text);
  if (value === undefined) throw new ApiError('invalid_request', `${kind} must ${rule}`, { details: { field: kind } });
  return value;
}

/** Tells which kind of identifier the one field of a log-in form holds. @returns undefined for a text that is none. */
export function recogniseIdentifier(text: string): Named | undefined {
  const plain = text.trim();
  if (/^[0-9]{8}$/.test(plain)) return { kind: 'number', value: plain };
  const kind: IdentifierKind = plain.includes('@') ? 'email' : plain.startsWith('+') ? 'phone' : 'username';
  const value = FORMS[kind].normalise(plain);
  return value === undefined ? undefined : { kind, value };
}
