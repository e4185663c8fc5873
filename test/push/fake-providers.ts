/** FCM and APNs, as far as they look at what is sent to them. */
import { strict as assert } from 'node:assert';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type ServerHttp2Session, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { jwtVerify } from 'jose';

interface Answer {
  status: number;
  body?: unknown;
  headers?: Record<string, string>;
}
const pem = (key: KeyObject): string => key.export({ type: 'pkcs8', format: 'pem' }) as string;
const bytesOf = async (from: AsyncIterable<Buffer>): Promise<string> => {
  const chunks: Buffer[] = [];
  for await (const chunk of from) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

export class FakeFcm {
  readonly #keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
  readonly #server = createServer((request, response) => {
    this.#take(request, response).catch((error: Error) => {
      this.errors.push(error.message);
      response.writeHead(400).end('{"error":{"status":"INVALID_ARGUMENT"}}');
    });
  });
  url = '';
  /** Messages by registration token. */
  readonly messages: { token: string; message: Record<string, unknown> }[] = [];
  readonly answers = new Map<string, Answer>();
  readonly errors: string[] = [];
  tokenCount = 0;

  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }
  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
  get account(): string {
    return JSON.stringify({
      ...{ type: 'service_account', project_id: 'demo', private_key_id: 'k1', private_key: pem(this.#keys.privateKey) },
      ...{ client_email: 'push@demo.iam.gserviceaccount.com', token_uri: `${this.url}/token` },
    });
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bytesOf(request);
    const json = (status: number, value: unknown, headers: Record<string, string> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
    };
    if (request.url === '/token') {
      const form = new URLSearchParams(body);
      assert.equal(form.get('grant_type'), 'urn:ietf:params:oauth:grant-type:jwt-bearer');
      const { payload, protectedHeader } = await jwtVerify(form.get('assertion')!, this.#keys.publicKey, {
        ...{ issuer: 'push@demo.iam.gserviceaccount.com', audience: `${this.url}/token`, algorithms: ['RS256'] },
      });
      assert.equal(protectedHeader.kid, 'k1');
      assert.equal(payload.scope, 'https://www.googleapis.com/auth/firebase.messaging');
      assert.ok(payload.exp! - payload.iat! <= 3_600);
      return json(200, { access_token: `ya29.${++this.tokenCount}`, expires_in: 3_599, token_type: 'Bearer' });
    }
    assert.equal(`${request.method} ${request.url}`, 'POST /v1/projects/demo/messages:send');
    assert.equal(request.headers.authorization, `Bearer ya29.${this.tokenCount}`);
    const { message } = JSON.parse(body) as { message: { token: string; data: unknown; android: { ttl: string } } };
    assert.match(message.android.ttl, /^\d+s$/);
    this.messages.push({ token: message.token, message });
    const answer = this.answers.get(message.token);
    json(answer?.status ?? 200, answer?.body ?? { name: 'projects/demo/messages/1' }, answer?.headers);
  }
}

export class FakeApns {
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly #server = createHttp2Server();
  readonly #sessions = new Set<ServerHttp2Session>();
  url = '';
  readonly messages: { token: string; headers: Record<string, unknown>; payload: unknown }[] = [];
  readonly answers = new Map<string, Answer>();
  readonly errors: string[] = [];
  connectionCount = 0;

  constructor() {
    this.#server.on('session', (session) => {
      this.connectionCount++;
      this.#sessions.add(session);
    });
    this.#server.on('stream', (stream: ServerHttp2Stream, headers: Record<string, unknown>) => {
      this.#take(stream, headers).catch((error: Error) => {
        this.errors.push(error.message);
        stream.respond({ ':status': 403 });
        stream.end('{"reason":"InvalidProviderToken"}');
      });
    });
  }
  get key(): string {
    return pem(this.#keys.privateKey);
  }
  async open(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this;
  }
  /** The connection breaks, as Apple's do. */
  closeConnections(): void {
    for (const session of this.#sessions) session.destroy();
    this.#sessions.clear();
  }
  async close(): Promise<void> {
    this.closeConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #take(stream: ServerHttp2Stream, headers: Record<string, unknown>): Promise<void> {
    const body = await bytesOf(stream);
    const [, token] = /^\/3\/device\/([0-9a-f]+)$/i.exec(String(headers[':path'])) ?? [];
    assert.ok(token && headers[':method'] === 'POST');
    const [, jwt] = /^bearer (.+)$/.exec(String(headers.authorization)) ?? [];
    const { payload, protectedHeader } = await jwtVerify(jwt!, this.#keys.publicKey, {
      issuer: 'TEAM123456',
      algorithms: ['ES256'],
    });
    assert.equal(protectedHeader.kid, 'KEY1234567');
    assert.ok(Math.abs(Date.now() / 1_000 - payload.iat!) < 3_600);
    assert.ok(['alert', 'background'].includes(String(headers['apns-push-type'])));
    assert.ok(Number(headers['apns-expiration']) > Date.now() / 1_000);
    assert.ok(Buffer.byteLength(String(headers['apns-collapse-id'])) <= 64);
    assert.ok(body.length <= 4_096);
    this.messages.push({ token, headers, payload: JSON.parse(body) });
    const answer = this.answers.get(token);
    stream.respond({ ':status': answer?.status ?? 200, ...answer?.headers });
    stream.end(answer?.body ? JSON.stringify(answer.body) : undefined);
  }
}
