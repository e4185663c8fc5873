import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { ApiError } from './errors.ts';
import { firstError } from './first-error.ts';
import { findUnstorable } from './storable.ts';

/**
 * Compiles a schema once; the returned check throws `invalid_request` naming the first field that is wrong, or that holds
 * text which Postgres can't. What it costs follows from the bytes of the value, wrong or right.
 * `stored: false` is for what goes out: an old message may hold any text.
 * Values are never quoted back: a field may hold ciphertext or a password.
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
    if (bad !== undefined) refuse(bad, 'holds U+0000 or half of a surrogate pair');
    return value as Static<T>;
  };
}
