/** What a push target has to be before it is kept. Where it leads to is checked again when it is dialled. */
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import {
  ApnsTarget,
  FcmTarget,
  type Provider,
  type PushTarget,
  UnifiedPushTarget,
  WebPushTarget,
} from '../../../shared/contract/http/push.ts';
import { checker } from '../../../shared/contract/validate.ts';

const CHECKS: Record<Provider, (value: unknown) => PushTarget> = {
  webpush: checker(WebPushTarget, 'body'),
  unifiedpush: checker(UnifiedPushTarget, 'body'),
  fcm: checker(FcmTarget, 'body'),
  apns: checker(ApnsTarget, 'body'),
};

const refuse = (why: string): never => {
  throw new ApiError('invalid_request', `body: endpoint ${why}`, { details: { field: 'endpoint' } });
};

/** @returns the target, null for none. @throws {ApiError} `invalid_request`, naming what is wrong for that provider. */
export function targetOf({ provider, ...rest }: { provider: 'none' | Provider }, config: Config): PushTarget | null {
  if (provider === 'none') {
    if (Object.keys(rest).length) throw new ApiError('invalid_request', 'body: provider none has no target');
    return null;
  }
  const target = CHECKS[provider]({ provider, ...rest });
  if ('endpoint' in target) {
    if (!URL.canParse(target.endpoint)) refuse('is no URL');
    const { protocol, username, password } = new URL(target.endpoint);
    if (username || password || (protocol !== 'https:' && config.NODE_ENV === 'production'))
      refuse('must be https and without credentials');
  }
  return target;
}
