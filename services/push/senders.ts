/** One way to each provider. A wake-up says nothing but that there is something. */
import { readFileSync } from 'node:fs';
import type { Config } from '../../shared/config/index.ts';
import type { Provider, PushTarget } from '../../shared/contract/http/push.ts';
import type { Database } from '../../shared/db/database.ts';
import { openApns } from './apns.ts';
import { openFcm } from './fcm.ts';
import type { Sent } from './handle.ts';
import { openWebPush } from './webpush.ts';

export interface Sender<T extends PushTarget = PushTarget> {
  /** Never throws. */
  send(target: T): Promise<Sent>;
  close(): Promise<void>;
}
type TargetOf<P extends Provider> = Extract<PushTarget, { provider: P }>;

export async function openSenders(config: Config, db: Database): Promise<Sender> {
  const web = await openWebPush(config, db);
  const fcm = config.FCM_SERVICE_ACCOUNT_JSON ? openFcm(config, secret(config.FCM_SERVICE_ACCOUNT_JSON)) : undefined;
  const apns = config.APNS_KEY ? openApns(config, secret(config.APNS_KEY)) : undefined;
  const without = (what: string): Promise<Sent> =>
    Promise.resolve({ is: 'failed', reason: `${what} is not configured` });
  return {
    send(target) {
      switch (target.provider) {
        case 'webpush':
        case 'unifiedpush':
          return web.send(target);
        case 'fcm':
          return fcm?.send(target) ?? without('fcm');
        case 'apns':
          return apns?.send(target) ?? without('apns');
      }
    },
    async close() {
      await Promise.all([web, fcm, apns].map((one) => one?.close()));
    },
  };
}
export type { TargetOf };

/** The thing itself, or a path to it. */
const secret = (value: string): string => (/^\s*[{-]/.test(value) ? value : readFileSync(value, 'utf8'));

/** Seconds or a date (RFC 9110 §10.2.3) as ms from now. */
export function retryAfter(value: string | string[] | undefined): { retry_after_ms?: number } {
  const [text] = [value].flat();
  if (!text) return {};
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms > 0 ? { retry_after_ms: ms } : {};
}

/** What went wrong, without what was sent or where to. */
export function reasonOf(error: unknown): string {
  const { name, code, cause } = (error ?? {}) as { name?: string; code?: unknown; cause?: unknown };
  return String(code ?? (cause as { code?: unknown } | undefined)?.code ?? name ?? 'unknown');
}
