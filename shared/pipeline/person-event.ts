/** Core event `people.<user>`: what is known of a person's devices and sessions is out of date. May be lost. */

export interface Ended {
  session_id: string;
  device_id: string;
}
export interface PersonEvent {
  /** Sessions that ended: their tokens are refused, their sockets closed. */
  ended?: readonly Ended[];
  /** Devices that are no more: nothing is addressed to them. */
  removed?: readonly string[];
}

/** Nothing to tell but the change itself is an empty message. */
export const encodePersonEvent = ({ ended, removed }: PersonEvent): string =>
  ended?.length || removed?.length ? JSON.stringify({ ended, removed }) : '';

export function decodePersonEvent(text: string): PersonEvent {
  return text === '' ? {} : (JSON.parse(text) as PersonEvent);
}
