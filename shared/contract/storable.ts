/** Finds text that Postgres cannot store unchanged: with U+0000 or half of a surrogate pair. */
import type { TSchema } from 'typebox';

/** @returns the path to the first text that can't be stored. */
type Look = (value: unknown, path: string) => string | undefined;
interface Node {
  type?: string;
  const?: unknown;
  enum?: unknown[];
  pattern?: string;
  properties?: Record<string, TSchema>;
  items?: TSchema;
  anyOf?: TSchema[];
  patternProperties?: Record<string, TSchema>;
}

const below = (path: string, key: string | number): string => (path ? `${path}.${key}` : String(key));
const isBad = (text: string): boolean => text.includes('\0') || !text.isWellFormed();
const lookAtText: Look = (value, path) => (typeof value === 'string' && isBad(value) ? path : undefined);
/** For unions and records, whose fields are not known beforehand. The value has passed its check, so it is not deep. */
const lookAtAll: Look = (value, path) => {
  if (typeof value === 'string') return lookAtText(value, path);
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, inner] of Object.entries(value)) {
    const bad = isBad(key) ? path || 'body' : lookAtAll(inner, below(path, key));
    if (bad !== undefined) return bad;
  }
  return undefined;
};

/**
 * Builds the search once for a schema, so that a value costs only a look at its free texts.
 * @returns undefined for a schema without free texts.
 */
export function findUnstorable(schema: TSchema): Look | undefined {
  const node = schema as Node;
  if (node.const !== undefined || node.enum) return undefined;
  // Every pattern of the contract lists the characters that it takes, and U+0000 is in none of them.
  if (node.type === 'string') return node.pattern === undefined ? lookAtText : undefined;
  if (node.anyOf) return node.anyOf.some((one) => findUnstorable(one)) ? lookAtAll : undefined;
  if (node.patternProperties) return lookAtAll;
  if (node.items) {
    const each = findUnstorable(node.items);
    return (
      each &&
      ((value, path) => {
        const items = value as unknown[];
        for (let i = 0; i < items.length; i++) {
          const bad = each(items[i], below(path, i));
          if (bad !== undefined) return bad;
        }
        return undefined;
      })
    );
  }
  if (!node.properties) return undefined;
  const fields = Object.entries(node.properties).flatMap(([key, inner]): [string, Look][] => {
    const look = findUnstorable(inner);
    return look ? [[key, look]] : [];
  });
  if (!fields.length) return undefined;
  return (value, path) => {
    const given = value as Record<string, unknown>;
    for (const [key, look] of fields) {
      const inner = given[key];
      const bad = inner === undefined ? undefined : look(inner, path ? `${path}.${key}` : key);
      if (bad !== undefined) return bad;
    }
    return undefined;
  };
}
