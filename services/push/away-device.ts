/** Types of devices that are away. Property names are those of the columns. */
import type { PushTarget } from '../../shared/contract/http/push.ts';

/** A device with a push target that has no connection and was not woken since it left. */
export interface AwayDevice {
  device_id: string;
  user_id: string;
  /** Cursor of the last item that it acknowledged; null where it never did. */
  cursor: number | null;
  /** When it left; the epoch for a device that never connected. */
  since: Date;
}

/** A device for which a wake-up is due by what was stored; it may have connected since. */
export interface DueDevice extends AwayDevice {
  /** Null when the target was removed or the device deleted meanwhile. */
  target: PushTarget | null;
  online: boolean;
  muted_until: Date | null;
  /** The `since` of the absence that the wake-up was due for. */
  absence: Date | null;
  /** Wake-ups sent in this absence. */
  wakes: number;
  /** Attempts that failed since the last wake-up. */
  tries: number;
}

export interface WakeSchedule {
  wakes: number;
  tries: number;
  /** When to look again, ms from now; undefined: not until the device has connected. */
  in_ms: number | undefined;
}
