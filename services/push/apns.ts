/** Sends wake-ups to APNs over HTTP/2 with a provider token (ES256), all of them on one connection. */
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { importPKCS8, SignJWT } from 'jose';
import type { Config } from '../../shared/config/index.ts';
import { failed, reasonOf } from './provider-reply.ts';
import type { Sender, TargetOf } from './sender.ts';

/** Apple wants a token no older than an hour, and not a new one more often than every 20 minutes. */
const TOKEN_MS = 40 * 60_000;
const IDLE_MS = 300_000;
const MAX_REPLY_CHARS = 4_096;
/** Reasons with which Apple says that a device token is not valid any more. */
const DEAD = new Set(['Unregistered', 'BadDeviceToken', 'DeviceTokenNotForTopic', 'ExpiredToken']);
/** The text is the app's own, by its key; an extension of the app replaces it once it has fetched what waits. */
const WAKE = JSON.stringify({ aps: { alert: { 'loc-key': 'NEW_MESSAGE' }, 'mutable-content': 1, sound: 'default' } });

interface Reply {
  status: number;
  reason: string;
  retryAfter: string | undefined;
}

/** @param pem the signing key. @throws when key id, team or topic are missing. */
export function openApns(config: Config, pem: string): Sender<TargetOf<'apns'>> {
  const { APNS_KEY_ID: keyId, APNS_TEAM_ID: teamId, APNS_TOPIC: topic, APNS_URL } = config;
  if (!keyId || !teamId || !topic) throw new Error('APNS_KEY needs APNS_KEY_ID, APNS_TEAM_ID and APNS_TOPIC: set them');
  const token = new ProviderToken(keyId, teamId, pem);
  const connection = new ApnsConnection(APNS_URL);
  return {
    async send(target) {
      try {
        const headers = {
          ':method': 'POST',
          ':path': `/3/device/${target.token}`,
          authorization: `bearer ${await token.get()}`,
          'apns-topic': target.topic ?? topic,
          'apns-push-type': 'alert',
          'apns-priority': '10',
          'apns-collapse-id': 'wake',
          'apns-expiration': String(Math.floor(Date.now() / 1_000) + config.PUSH_TTL_SEC),
          'content-type': 'application/json',
        };
        const { status, reason, retryAfter } = await connection.post(headers, WAKE, config.PUSH_TIMEOUT_MS);
        if (status === 200) return { is: 'ok' };
        if (status === 410 || DEAD.has(reason)) return { is: 'dead', reason: reason || 'http_410' };
        if (reason === 'ExpiredProviderToken') token.discard();
        return failed(reason || `http_${status}`, retryAfter);
      } catch (error) {
        return failed(reasonOf(error));
      }
    },
    async close() {
      connection.close();
    },
  };
}

/** The token that proves to Apple who sends; signed again when it gets too old. */
class ProviderToken {
  readonly #keyId: string;
  readonly #teamId: string;
  readonly #key: ReturnType<typeof importPKCS8>;
  #current: { value: Promise<string>; madeAt: number } | undefined;

  constructor(keyId: string, teamId: string, pem: string) {
    this.#keyId = keyId;
    this.#teamId = teamId;
    this.#key = importPKCS8(pem, 'ES256');
    // A key that is not valid fails each attempt instead of the process.
    this.#key.catch(() => {});
  }

  get(): Promise<string> {
    if (!this.#current || Date.now() - this.#current.madeAt > TOKEN_MS)
      this.#current = { value: this.#sign(), madeAt: Date.now() };
    return this.#current.value;
  }

  discard(): void {
    this.#current = undefined;
  }

  async #sign(): Promise<string> {
    return await new SignJWT()
      .setProtectedHeader({ alg: 'ES256', kid: this.#keyId })
      .setIssuer(this.#teamId)
      .setIssuedAt()
      .sign(await this.#key);
  }
}

/** One HTTP/2 connection, made when it is needed and again after it has broken. */
class ApnsConnection {
  readonly #url: string;
  #session: ClientHttp2Session | undefined;

  constructor(url: string) {
    this.#url = url;
  }

  post(headers: Record<string, string>, body: string, timeoutMs: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const stream = this.#open().request(headers);
      let status = 0;
      let retryAfter: string | undefined;
      let text = '';
      stream.setEncoding('utf8');
      stream.setTimeout(timeoutMs, () => {
        stream.close(constants.NGHTTP2_CANCEL);
        reject(Object.assign(new Error('timeout'), { code: 'timeout' }));
      });
      stream.on('response', (reply) => {
        status = Number(reply[':status']);
        retryAfter = reply['retry-after'];
      });
      stream.on('data', (part: string) => {
        if (text.length < MAX_REPLY_CHARS) text += part;
      });
      stream.on('error', reject);
      stream.on('close', () => {
        if (!status) reject(Object.assign(new Error('closed'), { code: 'connection_lost' }));
        else resolve({ status, reason: readReason(text), retryAfter });
      });
      stream.end(body);
    });
  }

  close(): void {
    this.#session?.destroy();
  }

  #open(): ClientHttp2Session {
    if (this.#session && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const session = connect(this.#url);
    const forget = (): void => {
      if (this.#session === session) this.#session = undefined;
    };
    session.on('error', forget).on('close', forget).on('goaway', forget);
    session.setTimeout(IDLE_MS, () => session.close());
    session.unref();
    this.#session = session;
    return session;
  }
}

function readReason(text: string): string {
  try {
    return String((JSON.parse(text) as { reason?: unknown }).reason ?? '').slice(0, 64);
  } catch {
    return '';
  }
}
