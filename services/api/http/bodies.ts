/** Bodies of requests: how much of them is held, and when they are parsed. */
import type { IncomingMessage } from 'node:http';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { parseJson } from '../../../shared/contract/json.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
/** After a large body no other one is parsed for this many times as long as it took. */
const REST = 3;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** What is asked of the bytes of a body that are in the process at a time. */
type Terms = Pick<Config, 'HTTP_SMALL_BODY_BYTES' | 'HTTP_BODIES_MAX_BYTES' | 'HTTP_BODIES_MAX_BYTES_PER_CALLER'>;
export interface Reading {
  /** Bytes that it may have. */
  limit: number;
  /** Who is counted: a person, or the address of somebody who is not known. */
  caller: string;
}

export class Bodies {
  readonly #terms: Terms;
  readonly #heldBy = new Map<string, number>();
  #held = 0;
  /** Fulfilled when the next large body may be parsed. */
  #turn: Promise<void> = Promise.resolve();

  constructor(terms: Terms) {
    this.#terms = terms;
  }

  /** Bytes of bodies that are being read now. */
  get held(): number {
    return this.#held;
  }

  /**
   * The body as JSON, `{}` where there is none, as `check` returns it. Strict where a parser would guess: another type or
   * encoding, broken UTF-8 (a replaced byte would change a sealed payload) and bodies beyond the limit are refused.
   * Large bodies are parsed one after another with pauses between them: ingest may run in the same process and must not
   * wait for all of them.
   * @throws {ApiError} `unsupported_media`, `too_large`, `invalid_request`, `rate_limited`, `unavailable`
   */
  async read<T>(request: IncomingMessage, reading: Reading, check: (value: unknown) => T): Promise<T> {
    const { 'content-type': type, 'content-encoding': encoding, 'content-length': length } = request.headers;
    if (length === '0' || (length === undefined && request.headers['transfer-encoding'] === undefined))
      return check({});
    if (!JSON_TYPE.test(type ?? '')) throw new ApiError('unsupported_media', 'content-type must be application/json');
    if (encoding && encoding !== 'identity')
      throw new ApiError('unsupported_media', 'content-encoding is not supported');
    return await this.#hold(request, reading, async (bytes) => {
      const parse = (): T => {
        let text: string;
        try {
          text = utf8.decode(bytes);
        } catch {
          throw new ApiError('invalid_request', 'the body is not UTF-8');
        }
        return check(text === '' ? {} : parseJson(text));
      };
      return bytes.length <= this.#terms.HTTP_SMALL_BODY_BYTES ? parse() : await this.#inTurn(parse);
    });
  }

  /** The body as it came. @throws {ApiError} `too_large`, `rate_limited`, `unavailable` */
  async readBytes(request: IncomingMessage, reading: Reading): Promise<Buffer> {
    return await this.#hold(request, reading, async (bytes) => bytes);
  }

  /** Reads the bytes and counts them until `use` is through with them. */
  async #hold<T>(request: IncomingMessage, { limit, caller }: Reading, use: (bytes: Buffer) => Promise<T>): Promise<T> {
    const tooLarge = (): ApiError =>
      new ApiError('too_large', `a body may have ${limit} bytes`, { details: { limit } });
    if (Number(request.headers['content-length']) > limit) throw tooLarge();
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      // The request must outlive a refusal, or the answer could not be sent.
      for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
        size += chunk.length;
        this.#count(caller, chunk.length);
        if (size > limit) throw tooLarge();
        this.#refuseOverfull(caller);
        chunks.push(chunk);
      }
      return await use(Buffer.concat(chunks, size));
    } finally {
      this.#count(caller, -size);
    }
  }

  #count(caller: string, bytes: number): void {
    this.#held += bytes;
    const held = (this.#heldBy.get(caller) ?? 0) + bytes;
    if (held > 0) this.#heldBy.set(caller, held);
    else this.#heldBy.delete(caller);
  }

  #refuseOverfull(caller: string): void {
    const { HTTP_BODIES_MAX_BYTES: all, HTTP_BODIES_MAX_BYTES_PER_CALLER: each } = this.#terms;
    if ((this.#heldBy.get(caller) ?? 0) > each)
      throw new ApiError(
        'rate_limited',
        `requests under way at a time may have ${each} bytes in all; send fewer at once`,
        {
          retry_after_ms: 1_000,
        },
      );
    if (this.#held > all)
      throw new ApiError('unavailable', 'too many large requests at once; try again later', { retry_after_ms: 1_000 });
  }

  async #inTurn<T>(parse: () => T): Promise<T> {
    const before = this.#turn;
    let next: () => void = () => undefined;
    this.#turn = new Promise((resolve) => {
      next = resolve;
    });
    await before;
    const started = performance.now();
    try {
      return parse();
    } finally {
      setTimeout(next, REST * (performance.now() - started));
    }
  }
}
