import { count, type Setting } from '../kinds.ts';

/** Settings of messages and conversations. */
export const MESSAGES = {
  MESSAGE_MAX_BYTES: count(65_536, 'Longest payload, bytes of UTF-8. A longer one is refused as too_large.', 1),
  GROUP_MAX_MEMBERS: count(1_000, 'Most members of a group. Adding more is refused.', 2),
  STATUS_MAX_MEMBERS: count(
    32,
    'Most members of a conversation in which senders receive the statuses delivered and read.',
    2,
  ),
} as const satisfies Record<string, Setting<unknown>>;
