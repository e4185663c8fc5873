/** Reads the bodies of requests: limits how many bytes the process holds, and when large bodies are parsed. */
import type { IncomingMessage } from 'node:http';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import { parseJson } from '../../../shared/contract/json.ts';

const JSON_TYPE = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i;
/** The pause after parsing a large body, as a multiple of the time that parsing took. */
const PAUSE_FACTOR = 3;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Limits for the bodies that the process holds at a time. */
type BodyLimits = Pick<Config, 'HTTP_SMALL_BODY_BYTES' | 'HTTP_BODIES_MAX_BYTES' | 'HTTP_BODIES_MAX_BYTES_PER_CALLER'>;
export interface ReadOptions {
  /** The most bytes that this body may have. */
  limit: number;
  /** The key under which bytes are counted: a person, or the address of an anonymous client. */
  caller: string;
}

export class Bodies {
  readonly #limits: BodyLimits;
  readonly #heldBy = new Map<string, number>();
  #heldBytes = 0;
  /** Resolves when the next large body may be parsed. */
  #turn: Promise<void> = Promise.resolve();

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  /** Bytes of bodies that are being read now. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Reads the body as JSON (`{}` without a body) and returns what `check` makes of it. Strict where a parser would guess:
   * another type or encoding, broken UTF-8 (a replaced byte would change a sealed payload) and bodies beyond the limit are
   * refused. Large bodies are parsed one after another with pauses between them: ingest may run in the same process, and
   * would otherwise wait until all of them were parsed.
   * @throws {ApiError} `unsupported_media`, `too_large`, `invalid_request`, `rate_limited`, `unavailable`
   */
  async read<T>(request: IncomingMessage, options: ReadOptions, check: (value: unknown) => T): Promise<T> {
    const { 'content-type': type, 'content-encoding': encoding, 'content-length': length } = request.headers;
    if (length === '0' || (length === undefined && request.headers['transfer-encoding'] === undefined))
      return check({});
    if (!JSON_TYPE.test(type ?? '')) throw new ApiError('unsupported_media', 'content-type must be application/json');
    if (encoding && encoding !== 'identity')
      throw new ApiError('unsupported_media', 'content-encoding must be absent or identity');
    return await this.#collect(request, options, async (bytes) => {
      const parse = (): T => {
        let text: string;
        try {
          text = utf8.decode(bytes);
        } catch {
          throw new ApiError('invalid_request', 'the body must be UTF-8');
        }
        return check(text === '' ? {} : parseJson(text));
      };
      return bytes.length <= this.#limits.HTTP_SMALL_BODY_BYTES ? parse() : await this.#parseInTurn(parse);
    });
  }

  /** Reads the body without parsing it. @throws {ApiError} `too_large`, `rate_limited`, `unavailable` */
  async readBytes(request: IncomingMessage, options: ReadOptions): Promise<Buffer> {
    return await this.#collect(request, options, async (bytes) => bytes);
  }

  /** Collects the bytes, and counts them as held until `use` has finished with them. */
  async #collect<T>(
    request: IncomingMessage,
    { limit, caller }: ReadOptions,
    use: (bytes: Buffer) => Promise<T>,
  ): Promise<T> {
    const tooLarge = (): ApiError =>
      new ApiError('too_large', `the body may have at most ${limit} bytes`, { details: { limit } });
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
    this.#heldBytes += bytes;
    const held = (this.#heldBy.get(caller) ?? 0) + bytes;
    if (held > 0) this.#heldBy.set(caller, held);
    else this.#heldBy.delete(caller);
  }

  #refuseOverfull(caller: string): void {
    const { HTTP_BODIES_MAX_BYTES: all, HTTP_BODIES_MAX_BYTES_PER_CALLER: each } = this.#limits;
    if ((this.#heldBy.get(caller) ?? 0) > each)
      throw new ApiError(
        'rate_limited',
        `the bodies of your concurrent requests may have at most ${each} bytes together: send fewer at once`,
        { retry_after_ms: 1_000 },
      );
    if (this.#heldBytes > all)
      throw new ApiError('unavailable', 'the server reads too many large bodies just now: try again later', {
        retry_after_ms: 1_000,
      });
  }

  async #parseInTurn<T>(parse: () => T): Promise<T> {
    const before = this.#turn;
    let release: () => void = () => undefined;
    this.#turn = new Promise((resolve) => {
      release = resolve;
    });
    await before;
    const started = performance.now();
    try {
      return parse();
    } finally {
      setTimeout(release, PAUSE_FACTOR * (performance.now() - started));
    }
  }
}
