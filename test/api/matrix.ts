/** Who may call what: one row for each route. The tests in matrix.test.ts are made from this and from the routes. */
import { strict as assert } from 'node:assert';
import type { ErrorCode } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/http/people.ts';
import type { Scope } from '../../shared/contract/http/route.ts';
import type { RouteName } from '../../shared/contract/http/routes.ts';
import type { Api, Ask } from './http.ts';

/** The things of one person, made for one row. */
export interface World {
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
      ask?: (world: World, api: Api) => Ask | Promise<Ask>;
      /** or gets this. */
      answer?: ErrorCode;
    }
  | {
      service?: never;
      /** A call that succeeds for the owner. */
      ask?: (world: World, api: Api) => Ask | Promise<Ask>;
      stranger: Other;
      /** A member of the owner's group, where that differs from a stranger. */
      member?: Other;
    };

const open: Row = { open: true };
const self: Row = { stranger: 'self' };
const inGroup = (more: Ask = {}): Row => ({
  ask: ({ group }) => ({ id: group, ...more }),
  stranger: 'not_found',
  member: 'may',
});
const sessionOf = async ({ owner }: World, api: Api): Promise<Ask> => {
  const { data } = await api.ask('sessions', { token: owner.access_token });
  return { id: data.items[0]!.id };
};

const withBackup = async ({ owner }: World, api: Api): Promise<Ask> => {
  await api.ask('putBackup', { token: owner.access_token, body: { data: 'c2VhbGVk' } });
  return {};
};

const service = (ask: Ask = {}): Row => ({ service: 'webhooks', ask: () => ask });
const endpointOf = async ({ admin }: World, api: Api): Promise<string> => {
  const body = { url: 'https://matrix.example.com/hook' };
  const { data, error } = await api.ask('createEndpoint', { token: admin, body });
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
  ping: open,
  jwks: open,
  publicKey: open,
  register: open,
  verify: open,
  otpRequest: open,
  otpVerify: open,
  login: open,
  refresh: open,

  me: self,
  ticket: self,
  logout: self,
  logoutAll: self,
  sessions: self,
  endOtherSessions: self,
  changePassword: {
    ask: () => ({ body: { old_password: 'correct horse', new_password: 'battery staple' } }),
    stranger: 'self',
  },
  deleteMe: { ask: () => ({ body: { password: 'correct horse' } }), stranger: 'self' },
  endSession: { ask: sessionOf, stranger: 'not_found', member: 'not_found' },

  devices: { ask: ({ owner }) => ({ id: owner.user.id }), stranger: 'may' },
  myDevices: self,
  patchDevice: {
    ask: ({ owner }) => ({ id: owner.device.id, body: { name: 'renamed' } }),
    stranger: 'not_found',
    member: 'not_found',
  },
  deleteDevice: { ask: ({ owner }) => ({ id: owner.device.id }), stranger: 'not_found', member: 'not_found' },
  prekeys: { ask: () => ({ body: { one_time: [] } }), stranger: 'self' },
  keyCount: self,
  claimKeys: { ask: ({ owner }) => ({ id: owner.user.id, body: {} }), stranger: 'may' },
  keyLog: { ask: ({ owner }) => ({ id: owner.user.id }), stranger: 'may' },
  putBackup: { ask: () => ({ body: { data: 'c2VhbGVk' } }), stranger: 'self' },
  getBackup: { ask: withBackup, stranger: 'self' },
  deleteBackup: { ask: withBackup, stranger: 'self' },
  putKeys: { ask: () => ({ body: { identity_key: 'S0VZ' } }), stranger: 'self' },

  direct: { ask: ({ member }) => ({ body: { user_id: member.user.id } }), stranger: 'may', member: 'may' },
  create: { ask: () => ({ body: { type: 'group', member_ids: [] } }), stranger: 'self' },
  conversations: self,
  conversation: inGroup(),
  members: inGroup(),
  send: inGroup({ body: { client_message_id: 'matrix', payload: 'c2VhbGVk' } }),
  read: inGroup({ body: { seq: 0 } }),
  history: inGroup(),

  putPush: {
    ask: ({ owner }) => ({ id: owner.device.id, body: { provider: 'none' } }),
    stranger: 'not_found',
    member: 'not_found',
  },
  getPush: { ask: ({ owner }) => ({ id: owner.device.id }), stranger: 'not_found', member: 'not_found' },
  pushKey: self,

  // Signed, not signed in: test/payments.
  paymentsWebhook: open,
  attachPayment: inGroup({ body: { request_id: 'matrix' } }),
  payments: inGroup(),
  paymentEvents: { service: 'payments' },
  replayPayment: { service: 'payments', ask: ({ group }) => ({ id: group }), answer: 'not_found' },

  eventTypes: service(),
  endpoints: service(),
  createEndpoint: service({ body: { url: 'https://matrix.example.com/hook' } }),
  endpoint: onEndpoint(),
  changeEndpoint: onEndpoint({ enabled: false }),
  deleteEndpoint: onEndpoint(),
  rotateSecret: onEndpoint({}),
  deliveries: onEndpoint(),
  attempts: onEndpoint(),
  resend: onEndpoint({ event_id: '00000000-0000-7000-8000-000000000000' }, 'not_found'),
  redrive: onEndpoint({}),
  recover: onEndpoint({ since: EPOCH }),
  testEndpoint: onEndpoint({}),
  stats: onEndpoint(),

  createToken: { service: 'admin', ask: () => ({ body: { name: 'matrix', scopes: ['payments'] } }) },
  tokens: { service: 'admin' },
  deleteToken: {
    service: 'admin',
    ask: async ({ admin }, api) => {
      const body = { name: 'matrix', scopes: ['payments'] };
      return { id: (await api.ask('createToken', { token: admin, body })).data.id };
    },
  },
};

export async function makeWorld(api: Api, admin: string): Promise<World> {
  const [owner, member] = await Promise.all([api.register(), api.register()]);
  const group = await api.ask('create', {
    token: owner.access_token,
    body: { type: 'group', name: 'ours', member_ids: [member.user.id] },
  });
  assert.equal(group.status, 201, group.error?.message);
  return { owner, member, group: group.data.id, admin };
}
