/** Sends wake-ups by FCM HTTP v1. */
import { Agent, request } from 'undici';
import type { Config } from '../../shared/config/index.ts';
import { GoogleToken, type ServiceAccount } from './google-token.ts';
import { failed, reasonOf } from './provider-reply.ts';
import type { Sender, TargetOf } from './sender.ts';

interface FcmError {
  error?: { status?: string; details?: { errorCode?: string }[] };
}

/** FCM keeps no message longer than 28 days. */
const MAX_TTL_SEC = 2_419_200;
/** Error codes with which FCM says that a registration token is not valid any more. */
const DEAD = new Set(['UNREGISTERED', 'SENDER_ID_MISMATCH']);

/** @param json the service account. @throws when it lacks what is needed. */
export function openFcm(config: Config, json: string): Sender<TargetOf<'fcm'>> {
  const account = JSON.parse(json) as ServiceAccount;
  if (!account.project_id || !account.client_email || !account.private_key)
    throw new Error('FCM_SERVICE_ACCOUNT_JSON needs project_id, client_email and private_key');
  const url = `${config.FCM_URL}/v1/projects/${encodeURIComponent(account.project_id)}/messages:send`;
  const dispatcher = new Agent({ connections: config.PUSH_CONCURRENCY, pipelining: 1 });
  const accessToken = new GoogleToken(account, dispatcher, config.PUSH_TIMEOUT_MS);

  const buildMessage = (token: string): string =>
    JSON.stringify({
      message: {
        token,
        data: { type: 'wake' },
        android: { priority: 'HIGH', collapse_key: 'wake', ttl: `${Math.min(config.PUSH_TTL_SEC, MAX_TTL_SEC)}s` },
      },
    });

  return {
    async send({ token }) {
      try {
        const headers = { authorization: `Bearer ${await accessToken.get()}`, 'content-type': 'application/json' };
        const signal = AbortSignal.timeout(config.PUSH_TIMEOUT_MS);
        const body = buildMessage(token);
        const reply = await request(url, { method: 'POST', dispatcher, headers, body, signal });
        if (reply.statusCode === 200) {
          await reply.body.dump();
          return { is: 'ok' };
        }
        const { error } = (await reply.body.json().catch(() => ({}))) as FcmError;
        const code = error?.details?.find(({ errorCode }) => errorCode)?.errorCode ?? error?.status ?? '';
        if (reply.statusCode === 401) accessToken.discard();
        if (DEAD.has(code)) return { is: 'dead', reason: code };
        return failed(code || `http_${reply.statusCode}`, reply.headers['retry-after']);
      } catch (error) {
        return failed(reasonOf(error));
      }
    },
    close: () => dispatcher.destroy(),
  };
}
