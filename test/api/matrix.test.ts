/** Route × caller × ownership, from the table of routes: a route that has no row in matrix.ts fails here. */
import test from 'ava';
import { SignJWT } from 'jose';
import { adminToken } from '../../shared/auth/derived.ts';
import { endSessions } from '../../shared/auth/sessions.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { SCOPES, type Scope } from '../../shared/contract/http/route.ts';
import { ROUTES, type Route, type RouteName } from '../../shared/contract/http/routes.ts';
import { uuid7 } from '../../shared/ids.ts';
import { encodePersonEvent } from '../../shared/pipeline/person-event.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK_HASHING } from './http.ts';
import { createFixture, type Fixture, ROWS } from './matrix.ts';

let env: Env;
let api: Api;
/** Nobody who may: each is refused by every route that is not open. */
const refused: Record<string, { token?: string; code: string }> = {};
/** As much, where a service token is asked for. */
const refusedServices: typeof refused = {};
/** A good one of each scope. */
const scoped: Record<string, { id: string; token: string }> = {};

test.before(async () => {
  env = await startEnv(QUICK_HASHING);
  api = new Api((await env.start('ingest', 'fanout', 'history', 'api')).apiUrl);
  const nc = await env.nats('api');
  const end = async ({ user, access_token }: LoggedIn, why: 'device' | 'suspended' | 'account'): Promise<string> => {
    const ended = await endSessions(env.db.query, user.id, why);
    nc.publish(`people.${user.id}`, encodePersonEvent({ ended }));
    await nc.flush();
    return access_token;
  };

  const [loggedOut, lost, inactive, deleted, late] = await Promise.all(Array.from({ length: 5 }, () => api.register()));
  await api.ask('sessions.logout', { token: loggedOut!.access_token });
  await env.db.query('update devices set deleted_at = now() where id = $1', [lost!.device.id]);
  await env.db.query('update users set suspended_at = now() where id = $1', [inactive!.user.id]);
  await env.db.query('update users set deleted_at = now() where id = $1', [deleted!.user.id]);
  const { kid, key } = await openTokens(env.db, env.config).keys.signingKey();
  const expired = await new SignJWT({ did: late!.device.id, sid: late!.device.id })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid })
    .setSubject(late!.user.id)
    .setIssuer('sealwire')
    .setAudience('sealwire')
    .setExpirationTime('-1s')
    .sign(key);
  const code = 'unauthenticated';
  Object.assign(refused, {
    'no token': { code },
    'no such token': { token: 'made.up.token', code },
    'an expired token': { token: expired, code: 'token_expired' },
    'a refresh token': { token: late!.refresh_token, code },
    'an ended session': { token: loggedOut!.access_token, code },
    'a revoked device': { token: await end(lost!, 'device'), code },
    'an inactive person': { token: await end(inactive!, 'suspended'), code },
    'a deleted person': { token: await end(deleted!, 'account'), code },
    'a service': { token: adminToken(env.config), code },
  });

  const newToken = async (...scopes: Scope[]) =>
    (await api.ask('serviceTokens.create', { token: adminToken(env.config), body: { name: 'matrix', scopes } })).data;
  for (const scope of SCOPES) scoped[scope] = await newToken(scope);
  const [past, gone] = [await newToken('admin'), await newToken('admin')];
  await env.db.query("update service_tokens set expires_at = now() - interval '1 second' where id = $1", [past.id]);
  await api.ask('serviceTokens.delete', { token: adminToken(env.config), id: gone.id });
  const person = await api.register();
  Object.assign(refusedServices, {
    'no token': { code },
    'no such token': { token: 'swt_madeup', code },
    'an expired one': { token: past.token, code },
    'a deleted one': { token: gone.token, code },
    'a device': { token: person.access_token, code },
  });
});
test.after.always(() => env.stop());

const world = (): Promise<Fixture> => createFixture(api, adminToken(env.config));
const asks = async (name: RouteName, made: Fixture) => {
  const row = ROWS[name];
  return 'open' in row ? {} : ((await row.ask?.(made, api)) ?? {});
};
/** With ids that look right and an empty body: who may not is refused before anything is read. */
const blind = ({ body }: Route) => ({ id: uuid7(), ...(body && { body: {} }) });
const callable = (Object.entries(ROUTES) as [RouteName, Route][]).filter(([, { auth }]) => auth !== 'none');

test('[A06] [A07] every route has a row in the matrix, and every row has a route', (t) => {
  t.deepEqual(Object.keys(ROWS).sort(), Object.keys(ROUTES).sort());
  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
    const row = ROWS[name];
    t.is('open' in row, route.auth === 'none', `${name}: is it open?`);
    t.is('open' in row ? undefined : row.service, route.scope, `${name}: whose is it?`);
  }
});

for (const [name, route] of callable) {
  test(`[A06] ${route.method} ${route.path} refuses callers without a valid token`, async (t) => {
    for (const [who, { token, code }] of Object.entries(route.auth === 'service' ? refusedServices : refused)) {
      const got = await api.ask(name, { ...blind(route), ...(token && { token }) });
      t.is(got.error?.code, code as never, who);
    }
  });
}

for (const [name, route] of callable) {
  const row = ROWS[name];
  if ('open' in row || row.service) continue;

  test(`[A07] ${route.method} ${route.path} serves its owner and nobody else`, async (t) => {
    const callers = [
      ['stranger', row.stranger],
      ['member', row.member ?? row.stranger],
    ] as const;
    for (const [who, expected] of callers) {
      if (expected === 'self') continue;
      const made = await world();
      const token = (who === 'member' ? made.member : await api.register()).access_token;
      const got = await api.ask(name, { ...(await asks(name, made)), token });
      if (expected === 'may') t.true(got.status < 300 || got.error?.code === 'invalid_request', `${who} ${got.status}`);
      else t.is(got.error?.code, expected, who);
      if (expected !== 'not_found') continue;
      const absent = await api.ask(name, { ...(await asks(name, made)), id: uuid7(), token });
      t.deepEqual([got.status, got.error], [absent.status, absent.error], `${who}: as for an id that does not exist`);
    }
    const made = await world();
    const own = await api.ask(name, { ...(await asks(name, made)), token: made.owner.access_token });
    t.true(own.status < 300, `owner ${own.status} ${own.error?.message}`);
  });
}

for (const [name, route] of callable) {
  const row = ROWS[name];
  if ('open' in row || !row.service) continue;

  test(`[A07] ${route.method} ${route.path} serves tokens with the scope ${row.service} and no others`, async (t) => {
    const made = await world();
    for (const [scope, { token }] of Object.entries(scoped)) {
      const may = scope === row.service || scope === 'admin';
      const got = await api.ask(name, { ...(may ? await asks(name, made) : blind(route)), token });
      t.is(got.error?.code, may ? row.answer : 'forbidden', `${scope}: ${got.error?.message}`);
    }
  });
}
