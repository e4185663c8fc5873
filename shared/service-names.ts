/**
 * The one list of services. From it follow the type of a name, what `npm start` runs, database roles, passwords and NATS
 * users: tables by service are typed as `Record<ServiceName, …>`, so that a service which one of them lacks does not compile.
 */

const GROUPS = [
  ['edge'],
  ['api', 'ingest', 'fanout', 'history'],
  ['events', 'webhook', 'payments-webhook', 'push'],
] as const;

export type ServiceName = (typeof GROUPS)[number][number];

/** Services by the process in which `npm start` runs them: other work never delays the edge's sockets, nor webhooks the messages. */
export const SERVICE_GROUPS: readonly (readonly ServiceName[])[] = GROUPS;

/** All services in the order in which a process closes them: those with clients first. They open in the reverse order. */
export const SERVICE_NAMES: readonly ServiceName[] = SERVICE_GROUPS.flat();
