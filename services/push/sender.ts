/** What every push provider's client implements. */
import type { Provider, PushTarget } from '../../shared/contract/http/push.ts';
import type { SendResult } from './provider-reply.ts';

export interface Sender<T extends PushTarget = PushTarget> {
  /** Never throws. */
  send(target: T): Promise<SendResult>;
  close(): Promise<void>;
}

export type TargetOf<P extends Provider> = Extract<PushTarget, { provider: P }>;
