/** Cuts lists into pages, and makes and reads the cursors that clients pass back to get the next page. */
import { ApiError } from '../../../shared/contract/errors.ts';

export interface Page<T> {
  items: T[];
  /** Null on the last page. */
  next_cursor: string | null;
}

/**
 * Cuts one page of `limit` items from `rows`. The caller reads `limit + 1` rows: the extra one shows that another page follows.
 * `cursorOf` makes the cursor from the last item of the page.
 */
export function paginate<T>(rows: T[], limit: number, cursorOf: (last: T) => string): Page<T> {
  const items = rows.slice(0, limit);
  return { items, next_cursor: rows.length > limit ? cursorOf(items.at(-1)!) : null };
}

interface CursorFormat<Position> {
  encode(position: Position): string;
  /** @returns undefined without a cursor: the first page. @throws {ApiError} `invalid_request` */
  decode(cursor: string | undefined): Position | undefined;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const invalid = (): ApiError =>
  new ApiError('invalid_request', 'query: cursor is invalid: pass next_cursor of the page before', {
    details: { field: 'cursor' },
  });

/** A format of cursors: base64url of a text, which `parse` reads back; `parse` returns undefined for any other text. */
function cursorFormat<Position>(
  print: (position: Position) => string,
  parse: (text: string) => Position | undefined,
): CursorFormat<Position> {
  return {
    encode: (position) => Buffer.from(print(position)).toString('base64url'),
    decode(cursor) {
      if (cursor === undefined) return undefined;
      const position = parse(Buffer.from(cursor, 'base64url').toString('latin1'));
      if (position === undefined) throw invalid();
      return position;
    },
  };
}

/** For lists in the order of ids. */
export const idCursor = cursorFormat<string>(
  (id) => id,
  (text) => (UUID.test(text) ? text : undefined),
);

/** For lists in the order of a time; the id decides between equal times. */
export const timeCursor = cursorFormat<{ at: Date; id: string }>(
  ({ at, id }) => `${at.getTime()} ${id}`,
  (text) => {
    const [, ms, id] = /^(\d{1,15}) (.+)$/.exec(text) ?? [];
    if (!ms || !id || !UUID.test(id) || Number(ms) > 8.64e15) return undefined;
    return { at: new Date(Number(ms)), id };
  },
);

/** For the history of a conversation: from a seq, up or down. */
export const seqCursor = cursorFormat<{ after_seq?: number; before_seq?: number }>(
  ({ after_seq, before_seq }) => (after_seq === undefined ? `before ${before_seq}` : `after ${after_seq}`),
  (text) => {
    const [, direction, seq] = /^(after|before) (\d{1,16})$/.exec(text) ?? [];
    if (!direction || !Number.isSafeInteger(Number(seq))) return undefined;
    return direction === 'after' ? { after_seq: Number(seq) } : { before_seq: Number(seq) };
  },
);

/** For lists in the order of another system's ids, which may be any printable text. */
export const textCursor = cursorFormat<string>(
  (text) => text,
  (text) => (/^[!-~]{1,128}$/.test(text) ? text : undefined),
);

/** For lists in the order of a number. The cursor is the number itself, readable. */
export const numberCursor: CursorFormat<number> = {
  encode: String,
  decode(cursor) {
    if (cursor === undefined) return undefined;
    if (!/^\d{1,9}$/.test(cursor)) throw invalid();
    return Number(cursor);
  },
};
