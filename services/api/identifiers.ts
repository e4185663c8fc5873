/** How people are named when they log in, in the one form that is stored and compared. */
import { ApiError } from '../../shared/contract/errors.ts';

export type IdentifierKind = 'phone' | 'email' | 'username';
export interface Named {
  kind: IdentifierKind | 'number';
  value: string;
}

const FORMS: Record<IdentifierKind, { tidy: (text: string) => string; form: RegExp; wants: string }> = {
  phone: {
    tidy: (text) => text.replace(/[\s().-]/g, ''),
    form: /^\+[1-9][0-9]{6,14}$/,
    wants: 'a number in international form, such as +15550100123',
  },
  email: {
    tidy: (text) => text.trim().normalize('NFKC').toLowerCase(),
    form: /^[^\s@<>"]{1,64}@[^\s@<>"]+\.[^\s@<>".]+$/u,
    wants: 'an email address',
  },
  username: {
    tidy: (text) => text.trim().normalize('NFKC').toLowerCase(),
    // A letter in it keeps it apart from numbers and phones, no @ from addresses.
    form: /^(?=.*[a-z])[a-z0-9][a-z0-9_.]{2,31}$/,
    wants: '3 to 32 of a-z 0-9 _ . with a letter',
  },
};

/** @throws {ApiError} `invalid_request` naming the field. */
export function normalise(kind: IdentifierKind, text: string): string {
  const { tidy, form, wants } = FORMS[kind];
  const value = tidy(text);
  if (!form.test(value))
    throw new ApiError('invalid_request', `${kind} must be ${wants}`, { details: { field: kind } });
  return value;
}

/** What a log-in form's one field means; undefined for what nobody can be called. */
export function recognise(text: string): Named | undefined {
  const plain = text.trim();
  if (/^[0-9]{8}$/.test(plain)) return { kind: 'number', value: plain };
  const kind: IdentifierKind = plain.includes('@') ? 'email' : plain.startsWith('+') ? 'phone' : 'username';
  try {
    return { kind, value: normalise(kind, plain) };
  } catch {
    return undefined;
  }
}
