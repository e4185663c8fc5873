/** Parses JSON of bounded depth. */
import { ApiError } from './errors.ts';

/** No schema of the contract allows as many levels. */
export const JSON_MAX_DEPTH = 32;
const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const [ARRAY, ARRAY_END, OBJECT, OBJECT_END] = [0x5b, 0x5d, 0x7b, 0x7d];

/** Whether arrays and objects are nested more than `max` levels deep. Reads the text only, without building values. */
function isDeeper(text: string, max: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      for (i++; i < text.length; i++) {
        const inner = text.charCodeAt(i);
        if (inner === QUOTE) break;
        if (inner === BACKSLASH) i++;
      }
    } else if (c === ARRAY || c === OBJECT) {
      if (++depth > max) return true;
    } else if (c === ARRAY_END || c === OBJECT_END) depth--;
  }
  return false;
}

/**
 * Parses JSON whose depth is bounded, so that a recursive walk through the value cannot exhaust the stack.
 * @throws {ApiError} `invalid_request`
 */
export function parseJson(text: string, maxDepth = JSON_MAX_DEPTH): unknown {
  if (isDeeper(text, maxDepth))
    throw new ApiError(
      'invalid_request',
      `the body must not nest arrays and objects more than ${maxDepth} levels deep`,
      {
        details: { limit: maxDepth },
      },
    );
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError('invalid_request', 'the body must be JSON');
  }
}
