/** Route × caller × ownership, from the table of routes: a route that has no row in matrix.ts fails here. */
import test from 'ava';
import { importJWK, type JWK, SignJWT } from 'jose';
import { endSessions } from '../../shared/auth/sessions.ts';
import type { LoggedIn } from '../../shared/contract/people.ts';
import { ROUTES, type Route, type RouteName } from '../../shared/contract/routes.ts';
import { encodePersonEvent } from '../../shared/pipeline/person-event.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK } from './http.ts';
import { makeWorld, ROWS, type World } from './matrix.ts';

let env: Env;
let api: Api;
/** Nobody who may: each is refused by every route that is not open. */
const refused: Record<string, { token?: string; code: string }> = {};

test.before(async () => {
  env = await startEnv(QUICK);
  api = new Api((await env.start('ingest', 'fanout', 'history', 'api')).apiUrl);
  const nc = await env.nats('api');
  const end = async ({ user, access_token }: LoggedIn, why: 'device' | 'suspended' | 'account'): Promise<string> => {
    const ended = await endSessions(env.db.query, user.id, why);
    nc.publish(`people.${user.id}`, encodePersonEvent({ ended }));
    await nc.flush();
    return access_token;
  };

  const [loggedOut, lost, inactive, deleted, late] = await Promise.all(Array.from({ length: 5 }, () => api.register()));
  await api.ask('logout', { token: loggedOut!.access_token });
  await env.db.query('update devices set deleted_at = now() where id = $1', [lost!.device.id]);
  await env.db.query('update users set suspended_at = now() where id = $1', [inactive!.user.id]);
  await env.db.query('update users set deleted_at = now() where id = $1', [deleted!.user.id]);
  const [row] = await env.db.query<{ kid: string; private_jwk: JWK }>(
    'select kid, private_jwk from signing_keys where retired_at is null',
  );
  const expired = await new SignJWT({ did: late!.device.id, sid: late!.device.id })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid: row!.kid })
    .setSubject(late!.user.id)
    .setIssuer('sealwire')
    .setAudience('sealwire')
    .setExpirationTime('-1s')
    .sign(await importJWK(row!.private_jwk, 'EdDSA'));
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
  });
});
test.after.always(() => env.stop());

const asks = async (name: RouteName, world: World) => {
  const row = ROWS[name];
  return 'open' in row ? {} : ((await row.ask?.(world, api)) ?? {});
};

test('[A06] [A07] every route has a row, and every row a route', (t) => {
  t.deepEqual(Object.keys(ROWS).sort(), Object.keys(ROUTES).sort());
  for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][])
    t.is('open' in ROWS[name], route.auth === 'none', `${name}: is it open?`);
});

for (const [name, route] of Object.entries(ROUTES) as [RouteName, Route][]) {
  if (route.auth === 'none') continue;

  test(`[A06] ${route.method} ${route.path} refuses who has no good token`, async (t) => {
    // With ids that look right and an empty body: refused before anything is read.
    const { member } = await makeWorld(api);
    for (const [who, { token, code }] of Object.entries(refused)) {
      const got = await api.ask(name, {
        id: member.user.id,
        ...(token && { token }),
        body: route.body ? {} : undefined,
      });
      t.is(got.error?.code, code as never, who);
    }
  });

  test(`[A07] ${route.method} ${route.path} serves its owner and nobody else`, async (t) => {
    const row = ROWS[name];
    if ('open' in row) return t.fail('a route that wants a token has a row that says open');
    const callers = [
      ['stranger', row.stranger],
      ['member', row.member ?? row.stranger],
    ] as const;
    for (const [who, expected] of callers) {
      if (expected === 'self') continue;
      const world = await makeWorld(api);
      const token = (who === 'member' ? world.member : await api.register()).access_token;
      const got = await api.ask(name, { ...(await asks(name, world)), token });
      if (expected === 'may') t.true(got.status < 300 || got.error?.code === 'invalid_request', `${who} ${got.status}`);
      else t.is(got.error?.code, expected, who);
    }
    const world = await makeWorld(api);
    const own = await api.ask(name, { ...(await asks(name, world)), token: world.owner.access_token });
    t.true(own.status < 300, `owner ${own.status} ${own.error?.message}`);
  });
}
