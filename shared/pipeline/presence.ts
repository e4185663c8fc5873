/** Which devices are connected. In Postgres: `device_presence` names the edge of each, `edge_leases` which edges live. */

/** Core message on `presence`, after it stands in Postgres: devices that came, devices that left. */
export interface PresenceChange {
  up: string[];
  down: string[];
}
