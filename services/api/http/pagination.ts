import { ApiError } from '../../../shared/contract/errors.ts';

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const wrong = (): ApiError =>
  new ApiError('invalid_request', 'query: cursor is none that was given out', { details: { field: 'cursor' } });

/** Where a list goes on: after the item with this id, and with this time where the list is by time. */
export const encodeCursor = (id: string, at?: Date): string =>
  Buffer.from(at ? `${at.getTime()} ${id}` : id).toString('base64url');

export function decodeCursor(cursor: string): string {
  const id = Buffer.from(cursor, 'base64url').toString('latin1');
  if (!UUID.test(id)) throw wrong();
  return id;
}

export function decodeTimeCursor(cursor: string): { at: Date; id: string } {
  const [, ms, id] = /^(\d{1,15}) (.+)$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (!ms || !id || !UUID.test(id) || Number(ms) > 8.64e15) throw wrong();
  return { at: new Date(Number(ms)), id };
}

/** History goes on from a seq, in a direction. */
export const encodeSeqCursor = (direction: 'after' | 'before', seq: number): string =>
  Buffer.from(`${direction} ${seq}`).toString('base64url');

export function decodeSeqCursor(cursor: string): { after_seq?: number; before_seq?: number } {
  const [, direction, seq] =
    /^(after|before) (\d{1,16})$/.exec(Buffer.from(cursor, 'base64url').toString('latin1')) ?? [];
  if (!direction || !Number.isSafeInteger(Number(seq))) throw wrong();
  return direction === 'after' ? { after_seq: Number(seq) } : { before_seq: Number(seq) };
}

/** A list by a text of somebody else's: after that text. */
export const encodeTextCursor = (text: string): string => Buffer.from(text).toString('base64url');

export function decodeTextCursor(cursor: string): string {
  const text = Buffer.from(cursor, 'base64url').toString('latin1');
  if (!/^[!-~]{1,128}$/.test(text)) throw wrong();
  return text;
}
