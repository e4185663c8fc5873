/**
 * Sends wake-ups by Web Push: RFC 8030, with encryption (RFC 8291) and signature (RFC 8292) by the web-push library. UnifiedPush
 * uses the same protocol.
 */
import { Agent, buildConnector, request } from 'undici';
import webpush from 'web-push';
import { vapidKeys } from '../../shared/auth/vapid.ts';
import type { Config } from '../../shared/config/index.ts';
import type { Database } from '../../shared/db/database.ts';
import { AddressRefused, addressLiteral, guardedLookup, openEgressGuard } from '../../shared/egress-guard.ts';
import { failed, reasonOf } from './provider-reply.ts';
import type { Sender, TargetOf } from './sender.ts';

/** A newer wake-up replaces one of the same topic that still waits at the push service. */
const TOPIC = 'wake';
const WAKE = '{"type":"wake"}';
const PER_ORIGIN = 16;

export async function openWebPush(
  config: Config,
  db: Database,
): Promise<Sender<TargetOf<'webpush'> | TargetOf<'unifiedpush'>>> {
  const keys = await vapidKeys(db, config);
  const vapidDetails = { subject: config.VAPID_SUBJECT, publicKey: keys.public_key, privateKey: keys.private_key };
  const { PUSH_TTL_SEC: TTL, PUSH_TIMEOUT_MS: timeout } = config;
  // The endpoint comes from users: it may lead to the public network only.
  const guard = openEgressGuard(config, 'PUSH_ALLOW_CIDRS');
  const dial = buildConnector({
    timeout,
    lookup: guardedLookup(guard),
    autoSelectFamily: true,
  } as buildConnector.BuildOptions);
  const dispatcher = new Agent({
    connect(options, callback) {
      const address = addressLiteral(options.hostname);
      if (address && !guard(address)) callback(new AddressRefused('the address is not public'), null);
      else dial(options, callback);
    },
    connections: PER_ORIGIN,
    pipelining: 1,
  });

  function buildRequest({ endpoint, keys }: TargetOf<'unifiedpush'>): {
    headers: Record<string, string>;
    body: Buffer | string;
  } {
    if (!keys) return { headers: { ttl: String(TTL), urgency: 'high', topic: TOPIC }, body: WAKE };
    const options = { vapidDetails, TTL, urgency: 'high', topic: TOPIC, contentEncoding: 'aes128gcm' } as const;
    const made = webpush.generateRequestDetails({ endpoint, keys }, WAKE, options);
    const headers = Object.entries(made.headers).map(([name, value]) => [name, String(value)]);
    return { headers: Object.fromEntries(headers), body: made.body! };
  }

  return {
    async send(target) {
      try {
        const { headers, body } = buildRequest(target as TargetOf<'unifiedpush'>);
        const signal = AbortSignal.timeout(timeout);
        const reply = await request(target.endpoint, { method: 'POST', dispatcher, headers, body, signal });
        await reply.body.dump({ limit: 65_536, signal });
        const { statusCode: status } = reply;
        if (status >= 200 && status < 300) return { is: 'ok' };
        if (status === 404 || status === 410) return { is: 'dead', reason: `http_${status}` };
        return failed(`http_${status}`, reply.headers['retry-after']);
      } catch (error) {
        if (error instanceof AddressRefused) return { is: 'dead', reason: 'address_refused' };
        return failed(reasonOf(error));
      }
    },
    close: () => dispatcher.destroy(),
  };
}
