/** The keys that sign access tokens, in Postgres, so that every process signs and verifies alike. */
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  importJWK,
  type JSONWebKeySet,
  type JWK,
} from 'jose';
import type { Config } from '../config/index.ts';
import type { Database, Query } from '../db/database.ts';

interface Row {
  kid: string;
  public_jwk: JWK;
  private_jwk: JWK;
  retired_at: Date | null;
}
interface Loaded {
  signing: { kid: string; key: CryptoKey; pem: string };
  verifying: Map<string, CryptoKey>;
  jwks: JSONWebKeySet;
  at: number;
}

/** A key made elsewhere is noticed after so long by those who sign. */
const RELOAD_MS = 60_000;
/** An unknown kid, or who asks for the JWKS, makes a process look again, at most this often: anybody can make up a kid. */
const UNKNOWN_KID_MS = 1_000;
const KEYS_LOCK = 7_325_909_202;

async function insertKey(query: Query): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const public_jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(public_jwk);
  await query('insert into signing_keys (kid, public_jwk, private_jwk) values ($1, $2, $3)', [
    kid,
    JSON.stringify({ ...public_jwk, kid, alg: 'EdDSA', use: 'sig' }),
    JSON.stringify({ ...(await exportJWK(privateKey)), alg: 'EdDSA' }),
  ]);
}

/** A new key signs from now on; the ones before go on verifying until the last token signed by them has expired. */
export async function rotateSigningKey(db: Database): Promise<void> {
  await db.transaction(async (query) => {
    await query('select pg_advisory_xact_lock($1)', [KEYS_LOCK]);
    await query('update signing_keys set retired_at = now() where retired_at is null');
    await insertKey(query);
  });
}

export interface Keys {
  signing(): Promise<Loaded['signing']>;
  /** @returns undefined for a kid that no valid key has. */
  verifying(kid: string): Promise<CryptoKey | undefined>;
  jwks(): Promise<JSONWebKeySet>;
}

export function openKeys(db: Database, config: Pick<Config, 'ACCESS_TOKEN_EXPIRE_MINUTES'>): Keys {
  let loaded: Loaded | undefined;
  let loading: Promise<Loaded> | undefined;

  const read = (): Promise<Row[]> =>
    db.query<Row>(
      // Those who sign may notice a new key late: a retired one verifies for that much longer.
      `select kid, public_jwk, private_jwk, retired_at from signing_keys
       where retired_at is null or retired_at > now() - make_interval(mins => $1, secs => $2) order by created_at desc`,
      [config.ACCESS_TOKEN_EXPIRE_MINUTES, RELOAD_MS / 1000],
    );

  async function load(): Promise<Loaded> {
    let rows = await read();
    if (!rows.some((row) => row.retired_at === null)) {
      await db.transaction(async (query) => {
        await query('select pg_advisory_xact_lock($1)', [KEYS_LOCK]);
        const [found] = await query('select 1 from signing_keys where retired_at is null limit 1');
        if (!found) await insertKey(query);
      });
      rows = await read();
    }
    const verifying = new Map<string, CryptoKey>();
    for (const row of rows) verifying.set(row.kid, (await importJWK(row.public_jwk, 'EdDSA')) as CryptoKey);
    const newest = rows.find((row) => row.retired_at === null)!;
    return {
      signing: {
        kid: newest.kid,
        key: (await importJWK(newest.private_jwk, 'EdDSA')) as CryptoKey,
        pem: await exportSPKI((await importJWK(newest.public_jwk, 'EdDSA', { extractable: true })) as CryptoKey),
      },
      verifying,
      jwks: { keys: rows.map((row) => row.public_jwk) },
      at: Date.now(),
    };
  }

  /** Keys that are at most `maxAge` ms old, if Postgres is there to ask; else the ones known before. */
  async function current(maxAge: number): Promise<Loaded> {
    if (loaded && Date.now() - loaded.at < maxAge) return loaded;
    loading ??= load().finally(() => {
      loading = undefined;
    });
    try {
      loaded = await loading;
    } catch (error) {
      if (!loaded) throw error;
      loaded.at = Date.now();
    }
    return loaded;
  }

  return {
    signing: async () => (await current(RELOAD_MS)).signing,
    // Another process may sign with a new key already, and whoever sees it asks here.
    jwks: async () => (await current(UNKNOWN_KID_MS)).jwks,
    async verifying(kid) {
      return (await current(RELOAD_MS)).verifying.get(kid) ?? (await current(UNKNOWN_KID_MS)).verifying.get(kid);
    },
  };
}
