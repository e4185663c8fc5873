/** APNs over HTTP/2 with a provider token (ES256), one connection for all. */
import { type ClientHttp2Session, connect, constants } from 'node:http2';
import { importPKCS8, SignJWT } from 'jose';
import type { Config } from '../../shared/config/index.ts';
import { failed, reasonOf, type SendResult } from './provider-reply.ts';
import type { Sender, TargetOf } from './sender.ts';

/** Apple wants a token no older than an hour, and not a new one more often than every 20 minutes. */
const TOKEN_MS = 40 * 60_000;
const DEAD = new Set(['Unregistered', 'BadDeviceToken', 'DeviceTokenNotForTopic', 'ExpiredToken']);
/** The text is the app's own, by its key; an extension of the app replaces it once it has fetched what is there. */
const WAKE = JSON.stringify({ aps: { alert: { 'loc-key': 'NEW_MESSAGE' }, 'mutable-content': 1, sound: 'default' } });

interface Reply {
  status: number;
  reason: string;
  retry_after: string | undefined;
}

/** @param pem the signing key. @throws when key id, team or topic are missing. */
export function openApns(config: Config, pem: string): Sender<TargetOf<'apns'>> {
  const { APNS_KEY_ID: kid, APNS_TEAM_ID: team, APNS_TOPIC, APNS_URL, PUSH_TIMEOUT_MS } = config;
  if (!kid || !team || !APNS_TOPIC) throw new Error('APNS_KEY needs APNS_KEY_ID, APNS_TEAM_ID and APNS_TOPIC');
  const key = importPKCS8(pem, 'ES256');
  key.catch(() => {});
  let session: ClientHttp2Session | undefined;
  let token: { value: Promise<string>; made: number } | undefined;

  function bearer(): Promise<string> {
    if (!token || Date.now() - token.made > TOKEN_MS) {
      const sign = async (): Promise<string> =>
        await new SignJWT()
          .setProtectedHeader({ alg: 'ES256', kid: kid! })
          .setIssuer(team!)
          .setIssuedAt()
          .sign(await key);
      token = { value: sign(), made: Date.now() };
    }
    return token.value;
  }

  function connection(): ClientHttp2Session {
    if (session && !session.closed && !session.destroyed) return session;
    const mine = connect(APNS_URL);
    const forget = (): void => {
      if (session === mine) session = undefined;
    };
    mine.on('error', forget).on('close', forget).on('goaway', forget);
    mine.setTimeout(300_000, () => mine.close());
    mine.unref();
    session = mine;
    return mine;
  }

  function post(target: TargetOf<'apns'>, authorization: string): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const stream = connection().request({
        ':method': 'POST',
        ':path': `/3/device/${target.token}`,
        authorization,
        'apns-topic': target.topic ?? APNS_TOPIC!,
        'apns-push-type': 'alert',
        'apns-priority': '10',
        'apns-collapse-id': 'wake',
        'apns-expiration': String(Math.floor(Date.now() / 1_000) + config.PUSH_TTL_SEC),
        'content-type': 'application/json',
      });
      let status = 0;
      let retry_after: string | undefined;
      let text = '';
      stream.setEncoding('utf8');
      stream.setTimeout(PUSH_TIMEOUT_MS, () => {
        stream.close(constants.NGHTTP2_CANCEL);
        reject(Object.assign(new Error('timeout'), { code: 'timeout' }));
      });
      stream.on('response', (headers) => {
        status = Number(headers[':status']);
        retry_after = headers['retry-after'];
      });
      stream.on('data', (part: string) => {
        if (text.length < 4_096) text += part;
      });
      stream.on('error', reject);
      stream.on('close', () => {
        if (!status) reject(Object.assign(new Error('closed'), { code: 'connection_lost' }));
        else resolve({ status, reason: reasonIn(text), retry_after });
      });
      stream.end(WAKE);
    });
  }

  return {
    async send(target): Promise<SendResult> {
      try {
        const { status, reason, retry_after } = await post(target, `bearer ${await bearer()}`);
        if (status === 200) return { is: 'ok' };
        if (status === 410 || DEAD.has(reason)) return { is: 'dead', reason: reason || 'http_410' };
        if (reason === 'ExpiredProviderToken') token = undefined;
        return failed(reason || `http_${status}`, retry_after);
      } catch (error) {
        return failed(reasonOf(error));
      }
    },
    async close() {
      session?.destroy();
    },
  };
}

function reasonIn(text: string): string {
  try {
    return String((JSON.parse(text) as { reason?: unknown }).reason ?? '').slice(0, 64);
  } catch {
    return '';
  }
}
