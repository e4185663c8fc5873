/** Encodes the core event `people.<user>`: caches of the person's devices and sessions are out of date. It may be lost. */

export interface Ended {
  session_id: string;
  device_id: string;
}
export interface PersonEvent {
  /** Sessions that ended: their tokens are refused, their sockets closed. */
  ended?: readonly Ended[];
  /** Devices that were deleted: no item is addressed to them any more. */
  removed?: readonly string[];
}

/** A change without ended sessions and removed devices is an empty message. */
export const encodePersonEvent = ({ ended, removed }: PersonEvent): string =>
  ended?.length || removed?.length ? JSON.stringify({ ended, removed }) : '';

export function decodePersonEvent(text: string): PersonEvent {
  return text === '' ? {} : (JSON.parse(text) as PersonEvent);
}
