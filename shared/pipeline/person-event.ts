/** Core event `people.<user>`: what is known of a person's devices and sessions is out of date. May be lost. */

export interface Ended {
  session_id: string;
  device_id: string;
}
export interface PersonEvent {
  /** Sessions that ended: their tokens are refused, their sockets closed. */
  ended?: readonly Ended[];
}

/** Nothing to tell but the change itself is an empty message. */
export const encodePersonEvent = ({ ended }: PersonEvent): string => (ended?.length ? JSON.stringify({ ended }) : '');

export function decodePersonEvent(text: string): PersonEvent {
  return text === '' ? {} : (JSON.parse(text) as PersonEvent);
}
