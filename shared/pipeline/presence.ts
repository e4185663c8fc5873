/**
 * The core event of devices that connect and disconnect. Postgres holds the state: `device_presence` names the edge of each
 * connected device, `edge_leases` the edges that are alive.
 */

/** Published on `presence` after Postgres has it: devices that connected, devices that disconnected. */
export interface PresenceChange {
  up: string[];
  down: string[];
}
