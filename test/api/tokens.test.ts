import test from 'ava';
import {
  decodeProtectedHeader,
  exportJWK,
  generateKeyPair,
  importJWK,
  importSPKI,
  type JWK,
  jwtVerify,
  SignJWT,
} from 'jose';
import { renewSigningKey, rotateSigningKey } from '../../shared/auth/signing-key-rotation.ts';
import { openTokens } from '../../shared/auth/tokens.ts';
import type { ApiError } from '../../shared/contract/errors.ts';
import type { LoggedIn } from '../../shared/contract/http/auth.ts';
import { type Env, startEnv } from '../env/index.ts';
import { Api, QUICK_HASHING } from './http.ts';

const REFRESH_RETRY_SEC = 120;
let env: Env;
let api: Api;
test.before(async () => {
  // Longer than any test takes, where ten seconds might not be.
  env = await startEnv({ ...QUICK_HASHING, REFRESH_RETRY_SEC, DATABASE_CONNECT_TIMEOUT_MS: 60_000 });
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const refresh = (refresh_token: string) => api.ask('auth.refresh', { body: { refresh_token } });
const later = (session_of: LoggedIn, seconds: number) =>
  env.db.query(
    `update refresh_tokens r set used_at = used_at - make_interval(secs => $2)
     from sessions s where s.id = r.session_id and s.device_id = $1`,
    [session_of.device.id, seconds],
  );

test('[A05] refreshing returns a new pair, and reusing the old token later ends the session', async (t) => {
  const person = await api.register();
  const second = await refresh(person.refresh_token);
  t.is(second.status, 200);
  t.is((await api.ask('accounts.get', { token: second.data.access_token })).status, 200);
  const third = await refresh(second.data.refresh_token);
  await later(person, REFRESH_RETRY_SEC + 1);
  t.is((await refresh(person.refresh_token)).error?.code, 'unauthenticated');
  t.is((await refresh(third.data.refresh_token)).error?.code, 'unauthenticated');
  const [session] = await env.db.query('select revoked_why from sessions where device_id = $1', [person.device.id]);
  t.is(session!.revoked_why, 'reuse');
});

test('[A05] a refresh whose reply was lost can be retried for a while, and only the last token continues', async (t) => {
  const person = await api.register();
  const lost = await refresh(person.refresh_token);
  await later(person, REFRESH_RETRY_SEC / 2);
  const retried = await refresh(person.refresh_token);
  t.is(retried.status, 200);
  t.not(retried.data.refresh_token, lost.data.refresh_token);
  t.is((await refresh(retried.data.refresh_token)).status, 200);
  await later(person, REFRESH_RETRY_SEC + 1);
  t.is((await refresh(lost.data.refresh_token)).error?.code, 'unauthenticated');
});

test('[A05] a hundred simultaneous refreshes with one token leave exactly one valid token', async (t) => {
  const person = await api.register();
  const all = await Promise.all(Array.from({ length: 100 }, () => refresh(person.refresh_token)));
  t.true(all.every((one) => one.status === 200));
  const rows = await env.db.query(
    'select 1 from refresh_tokens r join sessions s on s.id = r.session_id where s.device_id = $1 and r.used_at is null',
    [person.device.id],
  );
  t.is(rows.length, 1);
});

test('[A05] unknown, expired and revoked refresh tokens are refused, and no token is stored in plain text', async (t) => {
  t.is((await refresh('made-up')).error?.code, 'unauthenticated');
  const person = await api.register();
  await env.db.query(
    `update refresh_tokens set expires_at = now() where session_id in (select id from sessions where device_id = $1)`,
    [person.device.id],
  );
  t.is((await refresh(person.refresh_token)).error?.code, 'unauthenticated');
  const found = await env.db.query('select 1 from refresh_tokens where hash = $1::bytea', [
    Buffer.from(person.refresh_token),
  ]);
  t.deepEqual(found, []);
});

// These three one after the other, before all else: a rotation changes what is published.
test.serial('[A08] access tokens verify with the published JWKS and PEM', async (t) => {
  const { access_token, user, device } = await api.register();
  const { keys } = (await api.ask('auth.jwks')).data;
  t.is(JSON.stringify(keys).includes('"d"'), false, 'a private key is published');
  const options = { issuer: 'sealwire', audience: 'sealwire', typ: 'at+jwt', algorithms: ['EdDSA'] };
  const by = await jwtVerify(access_token, await importJWK(keys[0] as JWK, 'EdDSA'), options);
  t.is(by.payload.sub, user.id);
  t.is(by.payload.did, device.id);
  t.is(by.payload.exp! - by.payload.iat!, 15 * 60);
  const { public_key } = (await api.ask('auth.publicKey')).data;
  await t.notThrowsAsync(jwtVerify(access_token, await importSPKI(public_key, 'EdDSA'), options));
});

test.serial('[A08] after a key rotation old tokens stay valid, and other processes verify the new ones', async (t) => {
  const person = await api.register();
  const verifier = openTokens(env.db, env.config);
  await verifier.verify(person.access_token);
  await rotateSigningKey(env.db, env.config);
  const signer = openTokens(env.db, env.config);
  const holder = { user_id: person.user.id, device_id: person.device.id, session_id: person.device.id };
  const { access_token } = await signer.issue(holder);
  t.is((await signer.keys.jwks()).keys.length, 2);
  t.is((await signer.verify(person.access_token)).user_id, person.user.id);
  await t.notThrowsAsync(verifier.verify(access_token));
  // Nor does a process that looked before the rotation, and signs with the old key yet, keep the new one from others.
  const { kid } = decodeProtectedHeader(access_token);
  t.true((await api.ask('auth.jwks')).data.keys.some((one) => one.kid === kid));
});

test.serial(
  '[A08] the signing key is encrypted at rest, deleted when retired, and decrypted with PERSONAL_KEYS alone',
  async (t) => {
    await api.register();
    const { kid, key } = await openTokens(env.db, env.config).keys.signingKey();
    t.is(key.type, 'private');
    const rows = await env.db.query<{ kid: string; row: string; sealed: Buffer | null }>(
      'select kid, signing_keys::text as row, private_sealed as sealed from signing_keys',
    );
    t.false(rows.some(({ row }) => row.includes('"d"')));
    t.deepEqual(
      rows.filter(({ sealed }) => sealed).map((row) => row.kid),
      [kid],
    );
    const other = { ...env.config, PERSONAL_KEYS: [Buffer.alloc(32, 7).toString('base64')] };
    t.truthy(await openTokens(env.db, other).keys.findVerifyingKey(kid), 'who only verifies needs none of them');

    const both = { ...env.config, PERSONAL_KEYS: [...other.PERSONAL_KEYS, ...env.config.PERSONAL_KEYS] };
    t.is((await openTokens(env.db, both).keys.signingKey()).kid, kid);
    t.true(await renewSigningKey(env.db, both));
    t.false(await renewSigningKey(env.db, both));
    const renewed = await openTokens(env.db, other).keys.signingKey();
    t.not(renewed.kid, kid);
    t.deepEqual(await env.db.query('select kid from signing_keys where retired_at is null'), [{ kid: renewed.kid }]);
    const own = await Promise.all(Array.from({ length: 5 }, () => openTokens(env.db, env.config).keys.signingKey()));
    t.is(new Set(own.map((one) => one.kid)).size, 1, 'one that none of the keys opens is replaced, once');
    t.not(own[0]!.kid, renewed.kid);
  },
);

test('[A08] forged, foreign, unsigned, wrongly typed and expired access tokens are refused', async (t) => {
  const { user, device } = await api.register();
  const { kid, key: own } = await openTokens(env.db, env.config).keys.signingKey();
  const [row] = await env.db.query<{ public_jwk: JWK }>('select public_jwk from signing_keys where kid = $1', [kid]);
  const foreign = (await generateKeyPair('EdDSA')).privateKey;
  const claims = { did: device.id, sid: device.id };
  const jwt = (
    header: object = {},
    more: { sub?: string; iss?: string; aud?: string; exp?: string; claims?: object } = {},
  ) => {
    const token = new SignJWT({ ...(more.claims ?? claims) } as Record<string, unknown>)
      .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid, ...header })
      .setIssuer(more.iss ?? 'sealwire')
      .setAudience(more.aud ?? 'sealwire')
      .setIssuedAt();
    if (more.sub !== '') token.setSubject(more.sub ?? user.id);
    if (more.exp !== '') token.setExpirationTime(more.exp ?? '5m');
    return token;
  };
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const good = await jwt().sign(own);
  const [head, body, signature] = good.split('.') as [string, string, string];
  t.is((await api.ask('accounts.get', { token: good })).status, 200);

  const hmacKey = Buffer.from(
    JSON.stringify(await exportJWK(await importJWK(row!.public_jwk, 'EdDSA', { extractable: true }))),
  );
  const bad: Record<string, string> = {
    'another key': await jwt().sign(foreign),
    'an unknown kid': await jwt({ kid: 'nobody' }).sign(own),
    'no kid': await jwt({ kid: undefined }).sign(own),
    'typ JWT': await jwt({ typ: 'JWT' }).sign(own),
    'another issuer': await jwt({}, { iss: 'else' }).sign(own),
    'another audience': await jwt({}, { aud: 'else' }).sign(own),
    'no subject': await jwt({}, { sub: '' }).sign(own),
    'no expiry': await jwt({}, { exp: '' }).sign(own),
    'no device': await jwt({}, { claims: { sid: device.id } }).sign(own),
    'a device that is no text': await jwt({}, { claims: { did: 1, sid: device.id } }).sign(own),
    'alg none': `${part({ alg: 'none', typ: 'at+jwt', kid })}.${body}.`,
    'HMAC by the public key': await jwt({ alg: 'HS256' }).sign(hmacKey),
    'a changed body': `${head}.${part({ sub: user.id, ...claims, iss: 'sealwire', aud: 'sealwire', exp: 4e9 })}.${signature}`,
    'a cut signature': good.slice(0, -4),
    'an embedded key': await jwt({ jwk: row!.public_jwk, kid: 'mine' }).sign(foreign),
    'no token at all': 'x',
  };
  for (const [what, token] of Object.entries(bad)) {
    const { error } = await api.ask('accounts.get', { token });
    t.is(error?.code, 'unauthenticated', what);
  }
  const expired = await jwt({}, { exp: '-1s' }).sign(own);
  t.is((await api.ask('accounts.get', { token: expired })).error?.code, 'token_expired');
  const none = await api.ask('accounts.get');
  t.is(none.error?.code, 'unauthenticated');
  t.is(none.headers.get('www-authenticate'), 'Bearer');
});

test('[A08] a cached verification ends when the token expires', async (t) => {
  const { user, device } = await api.register();
  const tokens = openTokens(env.db, env.config);
  const { kid, key } = await tokens.keys.signingKey();
  const token = await new SignJWT({ did: device.id, sid: device.id })
    .setProtectedHeader({ alg: 'EdDSA', typ: 'at+jwt', kid })
    .setIssuer('sealwire')
    .setAudience('sealwire')
    .setSubject(user.id)
    .setExpirationTime(Math.floor(Date.now() / 1000) + 3)
    .sign(key);
  const { expires_at } = await tokens.verify(token);
  let code = '';
  while (code === '' && Date.now() < expires_at + 2_000)
    code = await tokens.verify(token).then(
      () => '',
      (error: ApiError) => error.code,
    );
  t.is(code, 'token_expired');
  t.true(Date.now() >= expires_at);
});
