/**
 * Finds the first field of a value that a schema refuses. It stops there, so that a huge value costs no more than its first
 * error.
 */
import type { TSchema } from 'typebox';
import { Errors } from 'typebox/value';

export interface FirstError {
  /** Names of fields and indexes of items down to the value, joined by dots. */
  path: string;
  reason: string;
}
/** The keywords of JSON Schema that are read here. */
interface Node {
  type?: string;
  properties?: Record<string, TSchema>;
  required?: string[];
  additionalProperties?: unknown;
  items?: TSchema;
  minItems?: number;
  maxItems?: number;
}

/** A client chooses the names of unknown fields, and they are repeated in replies: cut, so that a reply stays short. */
const SHOWN_CHARS = 64;
const below = (path: string, key: string | number): string => {
  const shown = typeof key === 'string' && key.length > SHOWN_CHARS ? `${key.slice(0, SHOWN_CHARS)}…` : key;
  return path ? `${path}.${shown}` : String(shown);
};

function leaf(schema: TSchema, value: unknown, path: string): FirstError | undefined {
  const [error] = Errors(schema, value);
  return error && { path, reason: error.message };
}

export function firstError(schema: TSchema, value: unknown, path = ''): FirstError | undefined {
  const node = schema as Node;
  if (node.type === 'object' && node.properties && typeof value === 'object' && value && !Array.isArray(value)) {
    const known = node.properties;
    if (node.additionalProperties === false)
      for (const key in value)
        if (!Object.hasOwn(known, key)) return { path: below(path, key), reason: 'is not a known field' };
    const given = value as Record<string, unknown>;
    for (const key of node.required ?? [])
      if (!Object.hasOwn(given, key)) return { path: below(path, key), reason: 'is missing' };
    for (const [key, inner] of Object.entries(known)) {
      const error = Object.hasOwn(given, key) && firstError(inner, given[key], below(path, key));
      if (error) return error;
    }
    return leaf({ ...schema, properties: {}, required: [], additionalProperties: true }, value, path);
  }
  if (node.type === 'array' && node.items && Array.isArray(value)) {
    // The count is checked first: if there are too many items, none of them is looked at.
    const { minItems = 0, maxItems = Number.POSITIVE_INFINITY } = node;
    const count = { type: 'array', minItems, ...(node.maxItems !== undefined && { maxItems }) };
    if (value.length < minItems || value.length > maxItems) return leaf(count, new Array(value.length), path);
    for (let i = 0; i < value.length; i++) {
      const error = firstError(node.items, value[i], below(path, i));
      if (error) return error;
    }
    return undefined;
  }
  return leaf(schema, value, path);
}
