import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { ApiError } from './errors.ts';

/**
 * Compiles a schema once; the returned check throws `invalid_request` naming the first field that is wrong.
 * Values are never quoted back: a field may hold ciphertext or a password.
 */
export function checker<T extends TSchema>(schema: T, what: string): (value: unknown) => Static<T> {
  const compiled = Compile(schema);
  return (value) => {
    if (compiled.Check(value)) return value as Static<T>;
    const [error] = compiled.Errors(value);
    const unknown = error?.keyword === 'boolean' && error.schemaPath.endsWith('/additionalProperties');
    const missing = (error?.params as { requiredProperties?: string[] } | undefined)?.requiredProperties?.[0];
    const path = [error?.instancePath.slice(1).replaceAll('/', '.'), missing].filter(Boolean).join('.');
    const reason = unknown ? 'is not a known field' : missing ? 'is missing' : (error?.message ?? 'is not valid');
    throw new ApiError('invalid_request', `${what}: ${path || 'body'} ${reason}`, { details: { field: path } });
  };
}
