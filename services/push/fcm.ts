/** FCM HTTP v1, with an access token by a signed assertion (RFC 7523) of the project's service account. */
import { importPKCS8, SignJWT } from 'jose';
import { Agent, request } from 'undici';
import type { Config } from '../../shared/config/index.ts';
import { failed, reasonOf, type SendResult } from './provider-reply.ts';
import type { Sender, TargetOf } from './sender.ts';

interface ServiceAccount {
  project_id: string;
  client_email: string;
  private_key: string;
  private_key_id?: string;
  token_uri?: string;
}
interface FcmError {
  error?: { status?: string; details?: { errorCode?: string }[] };
}

const SCOPE = 'https://www.googleapis.com/auth/firebase.messaging';
const TOKEN_URI = 'https://oauth2.googleapis.com/token';
/** A token is asked for anew so long before it ends. */
const MARGIN_MS = 300_000;

/** @param json the service account. @throws when it lacks what is needed. */
export function openFcm(config: Config, json: string): Sender<TargetOf<'fcm'>> {
  const account = JSON.parse(json) as ServiceAccount;
  const { project_id, client_email, private_key, private_key_id, token_uri = TOKEN_URI } = account;
  if (!project_id || !client_email || !private_key)
    throw new Error('FCM_SERVICE_ACCOUNT_JSON needs project_id, client_email and private_key');
  const url = `${config.FCM_URL}/v1/projects/${encodeURIComponent(project_id)}/messages:send`;
  const dispatcher = new Agent({ connections: config.PUSH_CONCURRENCY, pipelining: 1 });
  const key = importPKCS8(private_key, 'RS256');
  key.catch(() => {});
  let token: { value: Promise<string>; until: number } | undefined;

  async function authorise(): Promise<string> {
    const assertion = await new SignJWT({ scope: SCOPE })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(private_key_id && { kid: private_key_id }) })
      .setIssuer(client_email)
      .setAudience(token_uri)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(await key);
    const body = new URLSearchParams({ grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion });
    const reply = await request(token_uri, {
      ...{ method: 'POST', dispatcher, body: body.toString() },
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      signal: AbortSignal.timeout(config.PUSH_TIMEOUT_MS),
    });
    const given = (await reply.body.json()) as { access_token?: string; expires_in?: number };
    if (reply.statusCode !== 200 || !given.access_token)
      throw Object.assign(new Error('no access token'), { code: `oauth_${reply.statusCode}` });
    if (token) token.until = Date.now() + (given.expires_in ?? 3_600) * 1_000 - MARGIN_MS;
    return given.access_token;
  }
  function bearer(): Promise<string> {
    if (!token || token.until < Date.now()) {
      // Everybody who asks meanwhile waits for the same one.
      token = { value: undefined as never, until: Date.now() + config.PUSH_TIMEOUT_MS };
      const mine = token;
      mine.value = authorise();
      mine.value.catch(() => {
        if (token === mine) token = undefined;
      });
    }
    return token.value;
  }

  const message = (to: string): string =>
    JSON.stringify({
      message: {
        token: to,
        data: { type: 'wake' },
        android: { priority: 'HIGH', collapse_key: 'wake', ttl: `${Math.min(config.PUSH_TTL_SEC, 2_419_200)}s` },
      },
    });

  return {
    async send({ token: to }): Promise<SendResult> {
      try {
        const headers = { authorization: `Bearer ${await bearer()}`, 'content-type': 'application/json' };
        const signal = AbortSignal.timeout(config.PUSH_TIMEOUT_MS);
        const reply = await request(url, { method: 'POST', dispatcher, headers, body: message(to), signal });
        if (reply.statusCode === 200) {
          await reply.body.dump();
          return { is: 'ok' };
        }
        const { error } = (await reply.body.json().catch(() => ({}))) as FcmError;
        const code = error?.details?.find(({ errorCode }) => errorCode)?.errorCode ?? error?.status ?? '';
        if (reply.statusCode === 401) token = undefined;
        if (code === 'UNREGISTERED' || code === 'SENDER_ID_MISMATCH') return { is: 'dead', reason: code };
        return failed(code || `http_${reply.statusCode}`, reply.headers['retry-after']);
      } catch (error) {
        return failed(reasonOf(error));
      }
    },
    close: () => dispatcher.destroy(),
  };
}
