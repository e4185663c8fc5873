/**
 * Lists the services, once. The type of a name, what `npm start` runs, database roles, passwords and NATS users are derived from
 * this list; tables by service are typed as `Record<ServiceName, …>`, so a service that one of them lacks does not compile.
 */

/** The purpose of each service, by the process in which `npm start` runs it. */
const PROCESSES = [
  // Nothing delays the sockets.
  { edge: 'holds the sockets of devices: commands in, inboxes out' },
  {
    api: 'serves the HTTP API: accounts, conversations, messages, history',
    ingest: 'numbers the messages of conversations: INGRESS to LOG',
    fanout: 'writes the inboxes: LOG to INBOX shards',
    history: 'writes conversations into Postgres: LOG to tables',
  },
  // No webhook delays messages.
  {
    events: 'publishes what happened: LOG and the outbox to EVENTS',
    webhook: 'delivers events to integrations: EVENTS to signed POSTs',
    'payments-webhook': 'applies payment events: PAYMENTS to requests and conversations',
    push: 'wakes devices that are away: inboxes to push providers',
  },
] as const;

type KeysOf<T> = T extends unknown ? keyof T : never;
export type ServiceName = KeysOf<(typeof PROCESSES)[number]>;

/** Services by the process in which `npm start` runs them. */
export const SERVICE_GROUPS = PROCESSES.map((services) => Object.keys(services)) as readonly (readonly ServiceName[])[];

/** All services in the order in which a process closes them: those with clients first. They open in the reverse order. */
export const SERVICE_NAMES: readonly ServiceName[] = SERVICE_GROUPS.flat();

/** One line per service for help texts: its name, and what it does. */
export const SERVICE_LINES: readonly string[] = PROCESSES.flatMap((services) =>
  Object.entries(services).map(([name, purpose]) => `${name.padEnd(17)} ${purpose}`),
);
