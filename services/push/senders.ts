/** Sends wake-ups: each target goes to the client of its provider. A wake-up says nothing but that something waits. */
import { readFileSync } from 'node:fs';
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import { openApns } from './apns.ts';
import { openFcm } from './fcm.ts';
import { failed, type SendResult } from './provider-reply.ts';
import type { Sender } from './sender.ts';
import { openWebPush } from './webpush.ts';

/** @throws when a provider's settings are incomplete or a key cannot be read */
export async function openSenders(config: Config, db: Database): Promise<Sender> {
  const web = await openWebPush(config, db);
  const fcm = config.FCM_SERVICE_ACCOUNT_JSON ? openFcm(config, secret(config.FCM_SERVICE_ACCOUNT_JSON)) : undefined;
  const apns = config.APNS_KEY ? openApns(config, secret(config.APNS_KEY)) : undefined;
  const notConfigured = (provider: string): Promise<SendResult> =>
    Promise.resolve(failed(`${provider} is not configured`));
  return {
    send(target) {
      switch (target.provider) {
        case 'webpush':
        case 'unifiedpush':
          return web.send(target);
        case 'fcm':
          return fcm?.send(target) ?? notConfigured('fcm');
        case 'apns':
          return apns?.send(target) ?? notConfigured('apns');
      }
    },
    async close() {
      await Promise.all([web, fcm, apns].map((sender) => sender?.close()));
    },
  };
}

/** A setting holds the secret itself, or the path of a file that does. */
const secret = (value: string): string => (/^\s*[{-]/.test(value) ? value : readFileSync(value, 'utf8'));
