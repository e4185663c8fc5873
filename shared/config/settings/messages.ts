import { count, type Setting } from '../kinds.ts';

/** Settings: Messages. */
export const MESSAGES = {
  MESSAGE_MAX_BYTES: count(65_536, 'Longest payload, bytes of UTF-8.', 1),
  GROUP_MAX_MEMBERS: count(1_000, 'Members of a group.', 2),
  STATUS_MAX_MEMBERS: count(32, 'Conversations up to this size tell senders what was delivered and read.', 2),
} as const satisfies Record<string, Setting<unknown>>;
