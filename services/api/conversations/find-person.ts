/** Finds the person with whom somebody wants a direct conversation. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { DirectBody } from '../../../shared/contract/http/conversations.ts';
import { type Named, normaliseIdentifier } from '../accounts/identifiers.ts';
import type { Accounts } from '../accounts/store.ts';
import { noSuchPerson } from '../http/errors.ts';

interface Deps {
  accounts: Accounts;
  limits: AttemptLimits;
}

function readNamed({ number, phone, email }: DirectBody): Named {
  if (number !== undefined) return { kind: 'number', value: number };
  if (phone !== undefined) return { kind: 'phone', value: normaliseIdentifier('phone', phone) };
  return { kind: 'email', value: normaliseIdentifier('email', email!) };
}

/**
 * Look-ups by number, phone or email are limited, or anybody could find out who has an account. An id cannot be guessed.
 * @param by The person who asks.
 * @throws {ApiError} `invalid_request`, `rate_limited`, `not_found`
 */
export async function findPerson({ accounts, limits }: Deps, body: DirectBody, by: string): Promise<string> {
  const { user_id, number, phone, email } = body;
  if ([user_id, number, phone, email].filter((name) => name !== undefined).length !== 1)
    throw new ApiError('invalid_request', 'body: exactly one of user_id, number, phone and email must be given');
  if (user_id === undefined) await limits.takeLookup(by);
  const person = user_id === undefined ? await accounts.findAccount(readNamed(body)) : await accounts.findUser(user_id);
  if (!person) throw noSuchPerson();
  return person.id;
}
