import type { IncomingMessage } from 'node:http';
import { ApiError } from '../../shared/contract/errors.ts';
import { parseJson } from '../../shared/contract/json.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The body as JSON, `{}` where there is none. Strict where a parser would guess: another type or encoding, broken
 * UTF-8 (a replaced byte would change a sealed payload) and bodies beyond `limit` bytes are refused.
 * @throws {ApiError} `unsupported_media`, `too_large`, `invalid_request`
 */
export async function readBody(request: IncomingMessage, limit: number): Promise<unknown> {
  const { 'content-type': type, 'content-encoding': encoding, 'content-length': length } = request.headers;
  if (length === '0' || (length === undefined && request.headers['transfer-encoding'] === undefined)) return {};
  if (!JSON_TYPE.test(type ?? '')) throw new ApiError('unsupported_media', 'content-type must be application/json');
  if (encoding && encoding !== 'identity') throw new ApiError('unsupported_media', 'content-encoding is not supported');
  const bytes = await readBytes(request, limit);
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new ApiError('invalid_request', 'the body is not UTF-8');
  }
  return text === '' ? {} : parseJson(text);
}

/**
 * The body as it came.
 * @throws {ApiError} `too_large`
 */
export async function readBytes(request: IncomingMessage, limit: number): Promise<Buffer> {
  const tooLarge = (): ApiError => new ApiError('too_large', `a body may have ${limit} bytes`, { details: { limit } });
  if (Number(request.headers['content-length']) > limit) throw tooLarge();
  const chunks: Buffer[] = [];
  let size = 0;
  // The request must outlive a refusal, or the answer could not be sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > limit) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
