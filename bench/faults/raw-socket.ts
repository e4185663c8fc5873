/** Speaks WebSocket byte by byte, so that scenarios can send what the client library would never send. */
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Session } from '../../client/index.ts';

const OPEN_TIMEOUT_MS = 20_000;
/** Opcodes of WebSocket frames. */
export const TEXT = 1;
export const BINARY = 2;
export const CONTINUATION = 0;

/** Encodes one WebSocket frame (RFC 6455 §5.2). @param length the length that the header claims, if it is not the true one */
export function encodeFrame(
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
  /** Everything received, as latin1 text, which is enough to search it for words. */
  received = '';
  isClosed = false;
  readonly #socket: Socket;
  #waiters: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.received += data.toString('latin1');
      this.#wakeWaiters();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.isClosed = true;
      this.#wakeWaiters();
    });
  }

  /** Opens a socket. Resolves after its welcome. */
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
    await raw.waitUntil(() => raw.received.includes('connection.welcome'), OPEN_TIMEOUT_MS);
    return raw;
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  /** Reads nothing from now on, so that output piles up at the edge. */
  stopReading(): void {
    this.#socket.pause();
  }
  startReading(): void {
    this.#socket.resume();
  }

  /** Waits for a condition, checking it whenever bytes arrive. @throws when the socket closes or the time is up */
  async waitUntil(isTrue: () => boolean, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!isTrue()) {
      const remainingMs = deadline - performance.now();
      if (remainingMs <= 0 || this.isClosed)
        throw new Error(`the socket ${this.isClosed ? 'was closed' : 'received nothing of the kind'}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, remainingMs);
        this.#waiters.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #wakeWaiters(): void {
    for (const resolve of this.#waiters.splice(0)) resolve();
  }
}
