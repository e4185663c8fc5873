/** Reads the environment: the only place that does. The tables are in `settings/`; `docs/configuration.md` is generated from them. */
import { resolve } from 'node:path';
import type { ServiceName } from '../service-names.ts';
import type { Setting } from './kinds.ts';
import { ACCOUNTS } from './settings/accounts.ts';
import { API } from './settings/api.ts';
import { BROKER } from './settings/broker.ts';
import { EDGE } from './settings/edge.ts';
import { ENGINES } from './settings/engines.ts';
import { KEYS } from './settings/keys.ts';
import { MESSAGES } from './settings/messages.ts';
import { PAYMENTS } from './settings/payments.ts';
import { PIPELINE } from './settings/pipeline.ts';
import { PUSH } from './settings/push.ts';
import { WEBHOOKS } from './settings/webhooks.ts';

/** Tables of settings by heading of `docs/configuration.md`. */
export const SETTING_GROUPS: Record<string, Record<string, Setting<unknown>>> = {
  'Addresses and engines': ENGINES,
  Pipeline: PIPELINE,
  'HTTP API': API,
  Keys: KEYS,
  Messages: MESSAGES,
  Edge: EDGE,
  Accounts: ACCOUNTS,
  'Events and webhooks': WEBHOOKS,
  Payments: PAYMENTS,
  Push: PUSH,
  'Configuration of a broker of your own (npm run nats-conf)': BROKER,
};
export const SETTINGS = {
  ...ENGINES,
  ...PIPELINE,
  ...API,
  ...KEYS,
  ...MESSAGES,
  ...EDGE,
  ...ACCOUNTS,
  ...WEBHOOKS,
  ...PAYMENTS,
  ...PUSH,
  ...BROKER,
} as const satisfies Record<string, Setting<unknown>>;

export type Config = { readonly [K in keyof typeof SETTINGS]: ReturnType<(typeof SETTINGS)[K]['parse']> };

/** @throws an error that names the variable as the operator set it, and what it must be. */
export function readConfig(env: Record<string, string | undefined> = process.env): Config {
  const out: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(SETTINGS) as [string, Setting<unknown>][]) {
    const { formerName } = setting;
    const given = !env[name] && formerName && env[formerName] ? formerName : name;
    const value = env[given];
    out[name] = value === undefined || value === '' ? setting.default : setting.parse(value, given);
  }
  out.DATA_DIR = resolve(String(out.DATA_DIR));
  const config = Object.freeze(out) as Config;
  if (config.NODE_ENV === 'production') refuseUnsafe(config);
  const [channel, url] =
    config.AUTH_VERIFICATION === 'email' ? ['SMTP_URL', config.SMTP_URL] : ['SMS_WEBHOOK_URL', config.SMS_WEBHOOK_URL];
  if (config.AUTH_VERIFICATION !== 'off' && !url && config.OTP_DEV_CODE === undefined)
    throw new Error(`AUTH_VERIFICATION=${config.AUTH_VERIFICATION} needs ${channel}: set it, or AUTH_VERIFICATION=off`);
  return config;
}

/** Secrets that a service requires in production: there only provisioning has NATS_SECRET, from which they would be derived. */
const REQUIRED_IN_PRODUCTION: Partial<Record<ServiceName, (keyof Config)[]>> = {
  api: ['ADMIN_TOKEN', 'WEBHOOK_SECRETS_KEYS'],
  webhook: ['WEBHOOK_SECRETS_KEYS'],
};

/** @throws an error that names the settings which these services lack, or cannot share in one process. */
export function checkSettingsOf(services: readonly ServiceName[], config: Config): void {
  if (config.NATS_PASSWORD && services.length > 1)
    throw new Error(
      `NATS_PASSWORD is the password of one service, and this process runs ${services.length}: set NATS_SECRET instead`,
    );
  if (config.NODE_ENV !== 'production') return;
  const needed = new Set(services.flatMap((service) => REQUIRED_IN_PRODUCTION[service] ?? []));
  const missing = [...needed].filter((name) => !config[name] || (Array.isArray(config[name]) && !config[name].length));
  if (missing.length)
    throw new Error(
      `NODE_ENV=production refuses a generated ${missing.join(' and a generated ')}: set ${missing.join(', ')}`,
    );
}

function refuseUnsafe(config: Config): void {
  const wrong = [
    config.DURABILITY === 'fast' && !config.ALLOW_FAST && 'DURABILITY=fast without ALLOW_FAST=true',
    config.WS_ALLOW_QUERY_TOKEN && 'WS_ALLOW_QUERY_TOKEN=true',
    ...(['ALLOWED_ORIGINS', 'CORS_ORIGINS', 'WS_ALLOWED_ORIGINS'] as const).map(
      (name) => config[name].includes('*') && `${name}=*`,
    ),
    config.NATS_URL && !config.NATS_SECRET && !config.NATS_PASSWORD && 'a generated NATS_SECRET',
    config.OTP_DEV_CODE !== undefined && 'OTP_DEV_CODE',
    !config.COOKIE_SECURE && 'COOKIE_SECURE=false',
  ].filter(Boolean);
  if (wrong.length) throw new Error(`NODE_ENV=production refuses ${wrong.join(', ')}`);
}
