/** A push service as browsers have one: takes what RFC 8030 wants, checks RFC 8292, and opens RFC 8291 as a browser does. */
import { strict as assert } from 'node:assert';
import { createDecipheriv, createECDH, type ECDH, hkdfSync, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { importJWK, jwtVerify } from 'jose';

interface Browser {
  ecdh: ECDH;
  auth: Buffer;
  /** What was said, opened; one without keys got it as it is. */
  received: string[];
  /** Answers with this instead of 201. */
  status?: number;
  headers?: Record<string, string>;
}

export class FakeWebPushService {
  readonly #browsers = new Map<string, Browser>();
  readonly #server: Server;
  origin = '';
  /** What was wrong with a request. */
  readonly errors: string[] = [];
  publicKey = '';

  constructor() {
    this.#server = createServer((request, response) => {
      const browser = this.#browsers.get(request.url!);
      this.#take(request, browser).then(
        () => response.writeHead(browser?.status ?? 201, browser?.headers).end(),
        (error: Error) => {
          this.errors.push(error.message);
          response.writeHead(400).end();
        },
      );
    });
  }

  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.origin = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  subscribe(): { browser: Browser; endpoint: string; keys: { p256dh: string; auth: string } } {
    const ecdh = createECDH('prime256v1');
    const p256dh = ecdh.generateKeys().toString('base64url');
    const browser: Browser = { ecdh, auth: randomBytes(16), received: [] };
    const path = `/push/${randomBytes(12).toString('base64url')}`;
    this.#browsers.set(path, browser);
    return { browser, endpoint: this.origin + path, keys: { p256dh, auth: browser.auth.toString('base64url') } };
  }

  async #take(request: IncomingMessage, browser: Browser | undefined): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { headers } = request;
    assert.equal(request.method, 'POST');
    assert.ok(browser, 'an unknown subscription');
    assert.match(headers.ttl as string, /^\d+$/);
    assert.match(headers.topic as string, /^[A-Za-z0-9_-]{1,32}$/);
    assert.ok(['very-low', 'low', 'normal', 'high'].includes(headers.urgency as string));
    if (headers['content-encoding'] === undefined) {
      browser.received.push(body.toString());
      return;
    }
    assert.equal(headers['content-encoding'], 'aes128gcm');
    await this.#checkSignature(headers.authorization!);
    browser.received.push(open(body, browser).toString());
  }

  async #checkSignature(authorization: string): Promise<void> {
    const [, t, k] = /^vapid t=([\w.-]+), ?k=([\w-]+)$/.exec(authorization) ?? [];
    assert.ok(t && k, 'Authorization is not vapid');
    assert.equal(k, this.publicKey, 'not the key that was subscribed with');
    const point = Buffer.from(k, 'base64url');
    const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((part) => part.toString('base64url'));
    const key = await importJWK({ kty: 'EC', crv: 'P-256', x: x!, y: y! }, 'ES256');
    const { payload } = await jwtVerify(t, key, { audience: this.origin, algorithms: ['ES256'] });
    assert.ok(payload.exp! - Date.now() / 1_000 <= 86_400);
    assert.match(payload.sub!, /^(mailto:|https:)/);
  }
}

/** RFC 8188 with the keys of RFC 8291, one record. */
function open(body: Buffer, { ecdh, auth }: Browser): Buffer {
  const salt = body.subarray(0, 16);
  const keyLength = body[20]!;
  const sender = body.subarray(21, 21 + keyLength);
  const record = body.subarray(21 + keyLength);
  const info = Buffer.concat([Buffer.from('WebPush: info\0'), ecdh.getPublicKey(), sender]);
  const ikm = Buffer.from(hkdfSync('sha256', ecdh.computeSecret(sender), auth, info, 32));
  const derive = (what: string, length: number) =>
    Buffer.from(hkdfSync('sha256', ikm, salt, `Content-Encoding: ${what}\0`, length));
  const cipher = createDecipheriv('aes-128-gcm', derive('aes128gcm', 16), derive('nonce', 12));
  cipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([cipher.update(record.subarray(0, -16)), cipher.final()]);
  const end = padded.lastIndexOf(2);
  assert.ok(end >= 0 && padded.subarray(end + 1).every((byte) => byte === 0), 'the last record ends in 2 and zeros');
  return padded.subarray(0, end);
}
