/** Lists the tables that hold rows of one device, for everything that removes devices. A new one belongs here. */

/** Each has a column `device_id`. Sessions and the key log stay: they say what happened, not what the device has. */
export const DEVICE_TABLES = [
  'ws_tickets',
  'prekeys',
  'prekey_alarms',
  'device_cursors',
  'push_states',
  'device_presence',
] as const;

/** Statements that delete the rows of the device `$1`. */
export const DELETE_ROWS_OF_DEVICE = DEVICE_TABLES.map((table) => `delete from ${table} where device_id = $1`);

/** Statements that delete the rows of all devices of the person `$1`, also of those that are deleted already. */
export const DELETE_ROWS_OF_DEVICES_OF_USER = DEVICE_TABLES.map(
  (table) => `delete from ${table} where device_id in (select id from devices where user_id = $1)`,
);
