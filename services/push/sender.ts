/** The interface of the clients of push providers. */
import type { Provider, PushTarget } from '../../shared/contract/http/push.ts';
import type { SendResult } from './provider-reply.ts';

export interface Sender<T extends PushTarget = PushTarget> {
  /** Never throws. */
  send(target: T): Promise<SendResult>;
  close(): Promise<void>;
}

export type TargetOf<P extends Provider> = Extract<PushTarget, { provider: P }>;
