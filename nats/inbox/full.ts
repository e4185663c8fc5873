/**
 * Value of the bucket `full`, by user: whose messages the user's inbox does not take any more. Posts to groups are refused
 * before direct messages are, so that a flooded group does not keep friends from writing.
 */
export type FullFor = 'groups' | 'all';

/** An empty value was written before groups had a limit of their own. */
export const decodeFullFor = (value: string): FullFor => (value === 'groups' ? 'groups' : 'all');
