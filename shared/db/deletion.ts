/** Times of the deletion of an account that two services must agree on. */

/** History reopens the erasure of an account when it writes a message that is older than this, ms. */
export const LATE_MESSAGE_MS = 5 * 60_000;

/**
 * The api erases what a deleted account has left until so long after the deletion: longer than a command and its record in
 * the log take when everything is slow.
 */
export const ERASE_UNTIL_MS = 10 * 60_000;

// A message written between the two would be erased by nobody.
if (LATE_MESSAGE_MS >= ERASE_UNTIL_MS) throw new Error('LATE_MESSAGE_MS must be less than ERASE_UNTIL_MS');
