/** A WebSocket client without manners, byte by byte: what the client library would never send. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Session } from '../../client/index.ts';

const OPENING_MS = 20_000;
export const TEXT = 1;
export const BINARY = 2;
export const CONTINUATION = 0;

/** One WebSocket frame (RFC 6455 §5.2). `length`: what the header claims. */
export function frame(
  payload: Buffer | string,
  {
    opcode = TEXT,
    fin = true,
    masked = true,
    length = 0,
  }: { opcode?: number; fin?: boolean; masked?: boolean; length?: number } = {},
): Buffer {
  const body = Buffer.from(payload);
  const size = length || body.length;
  const head = Buffer.alloc(size < 126 ? 2 : size < 65_536 ? 4 : 10);
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = (masked ? 0x80 : 0) | (size < 126 ? size : size < 65_536 ? 126 : 127);
  if (head.length === 4) head.writeUInt16BE(size, 2);
  else if (head.length === 10) head.writeBigUInt64BE(BigInt(size), 2);
  if (!masked) return Buffer.concat([head, body]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, body.map((byte, i) => byte ^ mask[i % 4]!)]);
}

export class RawSocket {
  /** What came, as latin1 text; enough to look for words in it. */
  heard = '';
  closed = false;
  readonly #socket: Socket;
  #waiting: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.heard += data.toString('latin1');
      this.#wake();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
      this.#wake();
    });
  }

  /** Resolves once the upgrade was accepted. */
  static async open(edge: string, session: Session): Promise<RawSocket> {
    const url = new URL(edge);
    const raw = new RawSocket(connect(Number(url.port), url.hostname));
    const key = randomBytes(16).toString('base64');
    const token = await session.token();
    raw.write(
      Buffer.from(
        `GET /v1/ws HTTP/1.1\r\nHost: ${url.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n` +
          `Sec-WebSocket-Key: ${key}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
      ),
    );
    await raw.until(() => raw.heard.includes('connection.welcome'), OPENING_MS);
    return raw;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Reads nothing from now on, so that what comes piles up at the other end. */
  stopReading(): void {
    this.#socket.pause();
  }
  startReading(): void {
    this.#socket.resume();
  }

  async until(what: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!what()) {
      const left = deadline - performance.now();
      if (left <= 0 || this.closed) throw new Error(`the socket ${this.closed ? 'closed' : 'stayed silent'} instead`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
