import { ApiError } from './errors.ts';

/** Escapes that may stand for text which is not Unicode or which Postgres can't hold; raw ones are no valid JSON or UTF-8. */
const SUSPICIOUS = /\\u(?:0000|d[89a-f])/i;

function refuseUnstorable(value: unknown, path: string): void {
  if (typeof value === 'string') {
    if (value.includes('\0') || !value.isWellFormed())
      throw new ApiError('invalid_request', `${path || 'body'} holds U+0000 or half of a surrogate pair`, {
        details: { field: path },
      });
  } else if (value !== null && typeof value === 'object') {
    for (const [key, inner] of Object.entries(value)) {
      refuseUnstorable(key, path);
      refuseUnstorable(inner, path ? `${path}.${key}` : key);
    }
  }
}

/**
 * JSON whose every text can be stored and given back as it came.
 * @throws {ApiError} `invalid_request`
 */
export function parseJson(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ApiError('invalid_request', 'the body is not JSON');
  }
  if (SUSPICIOUS.test(text)) refuseUnstorable(value, '');
  return value;
}
