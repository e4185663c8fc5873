/** How people are named when they log in, in the one form that is stored and compared. */
import { domainToASCII } from 'node:url';
import { parsePhoneNumberFromString } from 'libphonenumber-js';
import { ApiError } from '../../../shared/contract/errors.ts';

export type IdentifierKind = 'phone' | 'email' | 'username';
export interface Named {
  kind: IdentifierKind | 'number';
  value: string;
}

/** E.164; possible for its country, not necessarily given to anybody. */
function phone(text: string): string | undefined {
  if (!text.trim().startsWith('+')) return undefined;
  const parsed = parsePhoneNumberFromString(text.trim(), { extract: false });
  return parsed?.isPossible() && !parsed.ext ? parsed.number : undefined;
}

/** What may stand between the dots before an @ without quotes (RFC 5321, RFC 6531), but for what nobody can see. */
const ATOM = String.raw`(?:[a-z0-9!#$%&'*+/=?^_\x60{|}~-]|[^\p{ASCII}\p{C}\p{Z}\p{Default_Ignorable_Code_Point}])+`;
const LOCAL = new RegExp(String.raw`^${ATOM}(?:\.${ATOM})*$`, 'u');
/** What a URL would read as a port, a path, an escape or an address is no domain. */
const HOST = /^(?:[a-z0-9.-]|\P{ASCII})+$/iu;
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const DOMAIN = new RegExp(`^(?:${LABEL}\\.)+(?![0-9]+$)${LABEL}$`);

/** The domain as DNS knows it (UTS #46); no mail system of today tells upper from lower case before the @. */
function email(text: string): string | undefined {
  const [, before, host] = /^([^@]{1,64})@([^@]{1,253})$/u.exec(text.trim().normalize('NFKC')) ?? [];
  if (!before || !host || !HOST.test(host)) return undefined;
  const local = before.toLowerCase().normalize('NFKC');
  const domain = domainToASCII(host);
  const address = `${local}@${domain}`;
  return LOCAL.test(local) && DOMAIN.test(domain) && address.length <= 254 ? address : undefined;
}

/**
 * Width, case and composition are mapped as by UsernameCaseMapped (RFC 8265); of that only ASCII is let in, so that no
 * two names look alike. The letter keeps it apart from numbers and phones, no @ from addresses.
 */
function username(text: string): string | undefined {
  const name = text.trim().normalize('NFKC').toLowerCase();
  return /^(?=.*[a-z])[a-z0-9][a-z0-9_.]{2,31}$/.test(name) ? name : undefined;
}

const FORMS: Record<IdentifierKind, { tidy: (text: string) => string | undefined; wants: string }> = {
  phone: { tidy: phone, wants: 'a number in international form, such as +15550100123' },
  email: { tidy: email, wants: 'an email address' },
  username: { tidy: username, wants: '3 to 32 of a-z 0-9 _ . with a letter' },
};

/** @throws {ApiError} `invalid_request` naming the field. */
export function normaliseIdentifier(kind: IdentifierKind, text: string): string {
  const { tidy, wants } = FORMS[kind];
  const value = tidy(text);
  if (value === undefined)
    throw new ApiError('invalid_request', `${kind} must be ${wants}`, { details: { field: kind } });
  return value;
}

/** What a log-in form's one field means; undefined for what nobody can be called. */
export function recogniseIdentifier(text: string): Named | undefined {
  const plain = text.trim();
  if (/^[0-9]{8}$/.test(plain)) return { kind: 'number', value: plain };
  const kind: IdentifierKind = plain.includes('@') ? 'email' : plain.startsWith('+') ? 'phone' : 'username';
  const value = FORMS[kind].tidy(plain);
  return value === undefined ? undefined : { kind, value };
}
