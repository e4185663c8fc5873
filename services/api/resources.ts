/** Opens what the handlers share: connections, caches, limits, background work. */
import { CommandLimits } from '../../nats/command-limits.ts';
import { Gateway } from '../../nats/gateway.ts';
import { watchRevocations } from '../../nats/revocations.ts';
import { subject } from '../../nats/topology.ts';
import { openAttemptLimits } from '../../shared/auth/attempt-limits.ts';
import { openBlindIndex } from '../../shared/auth/blind-index.ts';
import { openSessions } from '../../shared/auth/sessions.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import { createOrigins } from '../../shared/origins.ts';
import { encodePersonEvent, type PersonEvent } from '../../shared/pipeline/person-event.ts';
import type { Context } from '../../shared/service.ts';
import { openAccounts } from './accounts/store.ts';
import { openCodeSender } from './auth/code-sender.ts';
import { createConfirmPassword } from './auth/confirm-password.ts';
import { openPasswords } from './auth/passwords.ts';
import { openServiceTokens } from './auth/service-tokens.ts';
import { watchProjection } from './conversations/projection.ts';
import { openChangeNotifier } from './devices/change-notifier.ts';
import { createCookies } from './http/cookies.ts';
import { PaymentPublisher } from './payments/publisher.ts';

export type Resources = Awaited<ReturnType<typeof openResources>>;

/** The order of opening is the order of dependence; the caller closes them. */
export async function openResources(context: Context) {
  const { config, db, log, metrics } = context;
  const nc = await context.connect('api');
  const gateway = new Gateway(nc, config);
  const revocations = await watchRevocations({ nc, db, log, config });
  const tokens = openTokens(db, config, log);
  const blindIndex = openBlindIndex(config);
  const limits = openAttemptLimits(db, config);
  const passwords = await openPasswords(config, metrics, { log });

  const publish = (user_id: string, event: PersonEvent): void => {
    revocations.add(event.ended ?? []);
    if (!nc.isClosed()) nc.publish(subject.people(user_id), encodePersonEvent(event));
  };
  const notifier = openChangeNotifier({ db, gateway, log, publish });
  const sessions = openSessions(db, config, tokens, (user_id, ended = []) => {
    void notifier.announceChange(user_id, { ended });
  });
  return {
    ...{
      config,
      db,
      log,
      metrics,
      nc,
      gateway,
      revocations,
      tokens,
      blindIndex,
      limits,
      passwords,
      notifier,
      sessions,
    },
    announceChange: notifier.announceChange,
    accounts: openAccounts(db, blindIndex),
    codeSender: openCodeSender(config),
    commands: new CommandLimits({ nc, config }),
    confirmPassword: createConfirmPassword({ db, passwords, limits, blindIndex }),
    cookies: createCookies(config),
    origins: createOrigins(config, 'CORS_ORIGINS', log),
    projection: watchProjection(nc, config.PARTITIONS),
    publisher: new PaymentPublisher(nc, db),
    serviceTokens: openServiceTokens(db, config),
    wakeWorkers(): void {
      if (!nc.isClosed()) nc.publish(subject.webhooks);
    },
  };
}
