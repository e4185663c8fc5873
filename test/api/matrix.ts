/** Who may call what: one row for each route. The tests in matrix.test.ts are made from this and from the routes. */
import { strict as assert } from 'node:assert';
import type { ErrorCode } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import type { Scope } from '../../shared/contract/http/route.ts';
import type { RouteName } from '../../shared/contract/http/routes.ts';
import type { Api, CallOptions } from './http.ts';

/** The things of one person, made for one row. */
export interface Fixture {
  owner: LoggedIn;
  /** Member of the owner's group and partner of the owner's direct conversation. */
  member: LoggedIn;
  group: string;
  /** A service token that may do everything. */
  admin: string;
}

/** What somebody else gets who asks for the owner's thing. */
type Other =
  /** Refused with one of these. */
  | ErrorCode
  /** Everybody who is signed in may. */
  | 'may'
  /** There is no way to name somebody else's: the call is about the caller. */
  | 'self';

export type Row =
  /** Without a token. */
  | { open: true }
  | {
      /** For service tokens of this scope, and for nobody's device. */
      service: Scope;
      /** A call that succeeds with one, */
      ask?: (world: Fixture, api: Api) => CallOptions | Promise<CallOptions>;
      /** or gets this. */
      answer?: ErrorCode;
    }
  | {
      service?: never;
      /** A call that succeeds for the owner. */
      ask?: (world: Fixture, api: Api) => CallOptions | Promise<CallOptions>;
      stranger: Other;
      /** A member of the owner's group, where that differs from a stranger. */
      member?: Other;
    };

const open: Row = { open: true };
const self: Row = { stranger: 'self' };
const inGroup = (more: CallOptions = {}): Row => ({
  ask: ({ group }) => ({ id: group, ...more }),
  stranger: 'not_found',
  member: 'may',
});
const sessionOf = async ({ owner }: Fixture, api: Api): Promise<CallOptions> => {
  const { data } = await api.ask('sessions.list', { token: owner.access_token });
  return { id: data.items[0]!.id };
};

const withBackup = async ({ owner }: Fixture, api: Api): Promise<CallOptions> => {
  await api.ask('keys.backup.put', { token: owner.access_token, body: { data: 'c2VhbGVk' } });
  return {};
};

const service = (ask: CallOptions = {}): Row => ({ service: 'webhooks', ask: () => ask });
const endpointOf = async ({ admin }: Fixture, api: Api): Promise<string> => {
  const body = { url: 'https://matrix.example.com/hook' };
  const { data, error } = await api.ask('webhooks.endpoints.create', { token: admin, body });
  assert.equal(error, undefined);
  return data.id;
};
const onEndpoint = (body?: unknown, answer?: ErrorCode): Row => ({
  service: 'webhooks',
  ask: async (world, api) => ({ id: await endpointOf(world, api), ...(body !== undefined && { body }) }),
  ...(answer && { answer }),
});
const EPOCH = '1970-01-01T00:00:00.000Z';

export const ROWS: Record<RouteName, Row> = {
  'server.ping': open,
  'auth.jwks': open,
  'auth.publicKey': open,
  'auth.register': open,
  'auth.verify': open,
  'auth.otp.request': open,
  'auth.otp.verify': open,
  'auth.login': open,
  'auth.refresh': open,

  'accounts.get': self,
  'auth.tickets.create': self,
  'sessions.logout': self,
  'sessions.logoutAll': self,
  'sessions.list': self,
  'sessions.endOthers': self,
  'auth.changePassword': {
    ask: () => ({ body: { old_password: 'correct horse', new_password: 'battery staple' } }),
    stranger: 'self',
  },
  'accounts.delete': { ask: () => ({ body: { password: 'correct horse' } }), stranger: 'self' },
  'sessions.end': { ask: sessionOf, stranger: 'not_found', member: 'not_found' },

  'devices.listOfUser': { ask: ({ owner }) => ({ id: owner.user.id }), stranger: 'may' },
  'devices.list': self,
  'devices.update': {
    ask: ({ owner }) => ({ id: owner.device.id, body: { name: 'renamed' } }),
    stranger: 'not_found',
    member: 'not_found',
  },
  'devices.delete': { ask: ({ owner }) => ({ id: owner.device.id }), stranger: 'not_found', member: 'not_found' },
  'keys.prekeys.add': { ask: () => ({ body: { one_time: [] } }), stranger: 'self' },
  'keys.prekeys.count': self,
  'keys.prekeys.claim': { ask: ({ owner }) => ({ id: owner.user.id, body: {} }), stranger: 'may' },
  'keys.log.list': { ask: ({ owner }) => ({ id: owner.user.id }), stranger: 'may' },
  'keys.backup.put': { ask: () => ({ body: { data: 'c2VhbGVk' } }), stranger: 'self' },
  'keys.backup.get': { ask: withBackup, stranger: 'self' },
  'keys.backup.delete': { ask: withBackup, stranger: 'self' },
  'keys.publish': { ask: () => ({ body: { identity_key: 'S0VZ' } }), stranger: 'self' },

  'conversations.createDirect': {
    ask: ({ member }) => ({ body: { user_id: member.user.id } }),
    stranger: 'may',
    member: 'may',
  },
  'conversations.create': { ask: () => ({ body: { type: 'group', member_ids: [] } }), stranger: 'self' },
  'conversations.list': self,
  'conversations.get': inGroup(),
  'conversations.members.list': inGroup(),
  'messages.send': inGroup({ body: { client_message_id: 'matrix', payload: 'c2VhbGVk' } }),
  'messages.markRead': inGroup({ body: { seq: 0 } }),
  'messages.list': inGroup(),

  'push.targets.put': {
    ask: ({ owner }) => ({ id: owner.device.id, body: { provider: 'none' } }),
    stranger: 'not_found',
    member: 'not_found',
  },
  'push.targets.get': { ask: ({ owner }) => ({ id: owner.device.id }), stranger: 'not_found', member: 'not_found' },
  'push.key.get': self,

  // Signed, not signed in: test/payments.
  'payments.receive': open,
  'payments.attach': inGroup({ body: { request_id: 'matrix' } }),
  'payments.list': inGroup(),
  'payments.events.list': { service: 'payments' },
  'payments.events.replay': { service: 'payments', ask: ({ group }) => ({ id: group }), answer: 'not_found' },

  'webhooks.eventTypes.list': service(),
  'webhooks.endpoints.list': service(),
  'webhooks.endpoints.create': service({ body: { url: 'https://matrix.example.com/hook' } }),
  'webhooks.endpoints.get': onEndpoint(),
  'webhooks.endpoints.update': onEndpoint({ enabled: false }),
  'webhooks.endpoints.delete': onEndpoint(),
  'webhooks.endpoints.rotateSecret': onEndpoint({}),
  'webhooks.deliveries.list': onEndpoint(),
  'webhooks.attempts.list': onEndpoint(),
  'webhooks.deliveries.resend': onEndpoint({ event_id: '00000000-0000-7000-8000-000000000000' }, 'not_found'),
  'webhooks.deliveries.redrive': onEndpoint({}),
  'webhooks.deliveries.recover': onEndpoint({ since: EPOCH }),
  'webhooks.endpoints.test': onEndpoint({}),
  'webhooks.endpoints.stats': onEndpoint(),

  'serviceTokens.create': { service: 'admin', ask: () => ({ body: { name: 'matrix', scopes: ['payments'] } }) },
  'serviceTokens.list': { service: 'admin' },
  'serviceTokens.delete': {
    service: 'admin',
    ask: async ({ admin }, api) => {
      const body = { name: 'matrix', scopes: ['payments'] };
      return { id: (await api.ask('serviceTokens.create', { token: admin, body })).data.id };
    },
  },
};

export async function createFixture(api: Api, admin: string): Promise<Fixture> {
  const [owner, member] = await Promise.all([api.register(), api.register()]);
  const group = await api.ask('conversations.create', {
    token: owner.access_token,
    body: { type: 'group', name: 'ours', member_ids: [member.user.id] },
  });
  assert.equal(group.status, 201, group.error?.message);
  return { owner, member, group: group.data.id, admin };
}
