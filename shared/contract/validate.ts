/** Compiles schemas into checks that name the field that is wrong. */
import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { ApiError } from './errors.ts';
import { firstError } from './first-error.ts';
import { findUnstorable } from './storable.ts';

/**
 * Compiles a schema once. The returned check throws `invalid_request` naming the first field that is wrong, or that contains
 * text which Postgres cannot store. The cost of a check is linear in the bytes of the value, right or wrong.
 * Errors never quote values: a field may contain ciphertext or a password.
 * @param options.stored false for replies, which may contain old messages with any text.
 */
export function checker<T extends TSchema>(
  schema: T,
  what: string,
  { stored = true } = {},
): (value: unknown) => Static<T> {
  const compiled = Compile(schema);
  const unstorable = stored ? findUnstorable(schema) : undefined;
  const refuse = (path: string, reason: string): never => {
    throw new ApiError('invalid_request', `${what}: ${path || 'body'} ${reason}`, { details: { field: path } });
  };
  return (value) => {
    if (!compiled.Check(value)) {
      const { path, reason } = firstError(schema, value) ?? { path: '', reason: 'is not valid' };
      return refuse(path, reason);
    }
    const bad = unstorable?.(value, '');
    if (bad !== undefined) refuse(bad, 'must not contain U+0000 or half of a surrogate pair');
    return value as Static<T>;
  };
}
