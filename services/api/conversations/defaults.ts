/** The fields of a conversation that no command can set yet. They are part of the contract and have these values for now. */
import type { Conversation } from '../../../shared/contract/objects.ts';

export const CONVERSATION_DEFAULTS = {
  visibility: 'private',
  slow_mode_sec: 0,
  muted: false,
  archived: false,
} as const satisfies Partial<Conversation>;
