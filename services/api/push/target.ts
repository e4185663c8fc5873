/** Checks a push target before it is stored. The push service checks the address of its endpoint again when it connects. */
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

const refuseEndpoint = (rule: string): never => {
  throw new ApiError('invalid_request', `body: endpoint ${rule}`, { details: { field: 'endpoint' } });
};

/**
 * @returns the target; null for provider `none`.
 * @throws {ApiError} `invalid_request` naming the field that is wrong for that provider.
 */
export function toPushTarget(
  { provider, ...fields }: { provider: 'none' | Provider },
  config: Pick<Config, 'NODE_ENV'>,
): PushTarget | null {
  if (provider === 'none') {
    if (Object.keys(fields).length)
      throw new ApiError('invalid_request', 'body: provider none takes no other fields: leave them out');
    return null;
  }
  const target = CHECKS[provider]({ provider, ...fields });
  if ('endpoint' in target) {
    if (!URL.canParse(target.endpoint)) refuseEndpoint('must be a URL');
    const { protocol, username, password } = new URL(target.endpoint);
    if (username || password || (protocol !== 'https:' && config.NODE_ENV === 'production'))
      refuseEndpoint('must be https and without credentials');
  }
  return target;
}
