/**
 * The keys that sign access tokens, in Postgres, so that every process signs and verifies alike. The private one is sealed
 * under PERSONAL_KEYS, which only those have who sign; it goes when the key is retired.
 */
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
import { openSealing, readSealingKeys, type Sealing } from './sealing.ts';

interface Row {
  kid: string;
  public_jwk: JWK;
  private_sealed: Buffer | null;
}
interface Signing {
  kid: string;
  key: CryptoKey;
}
interface Loaded {
  /** The key that signs, not opened yet. */
  newest: Row | undefined;
  signing?: Signing;
  verifying: Map<string, CryptoKey>;
  jwks: JSONWebKeySet;
  at: number;
}

/** A key made elsewhere is noticed after so long by those who sign. */
const RELOAD_MS = 60_000;
/** An unknown kid, or who asks for the JWKS, makes a process look again, at most so often: anybody can make up a kid. */
const LOOK_MS = 100;
const KEYS_LOCK = 7_325_909_202;
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

const place = (kid: string): string => `signing_keys.private:${kid}`;
const sealingOf = ({ PERSONAL_KEYS }: Pick<Config, 'PERSONAL_KEYS'>): Sealing =>
  openSealing('PERSONAL_KEYS', readSealingKeys('PERSONAL_KEYS', PERSONAL_KEYS));

/** @returns undefined when none of the keys opens it. */
function open(sealing: Sealing, { kid, private_sealed }: Pick<Row, 'kid' | 'private_sealed'>): JWK | undefined {
  try {
    return JSON.parse(sealing.open(private_sealed!, place(kid))) as JWK;
  } catch {
    return undefined;
  }
}

async function insertKey(query: Query, sealing: Sealing): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const public_jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(public_jwk);
  const private_jwk = JSON.stringify({ ...(await exportJWK(privateKey)), alg: 'EdDSA' });
  await query('insert into signing_keys (kid, public_jwk, private_sealed) values ($1, $2, $3)', [
    kid,
    JSON.stringify({ ...public_jwk, kid, alg: 'EdDSA', use: 'sig' }),
    sealing.seal(private_jwk, place(kid)),
  ]);
}

/** A new key signs from now on; the ones before go on verifying until the last token signed by them has expired. */
export function rotateSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  return rotateUnless(db, sealingOf(config), () => false);
}

/** Rotates when the key is sealed under another one than writing uses now. @returns whether it did */
export function renewSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  const sealing = sealingOf(config);
  return rotateUnless(db, sealing, ({ private_sealed }) => sealing.current(private_sealed!));
}

function rotateUnless(db: Database, sealing: Sealing, good: (newest: Row) => boolean): Promise<boolean> {
  return db.transaction(async (query) => {
    await query('select pg_advisory_xact_lock($1)', [KEYS_LOCK]);
    const [newest] = await query<Row>(
      'select kid, public_jwk, private_sealed from signing_keys where retired_at is null',
    );
    if (newest && good(newest)) return false;
    await query('update signing_keys set retired_at = now(), private_sealed = null where retired_at is null');
    await insertKey(query, sealing);
    return true;
  });
}

export interface Keys {
  /** Made when there is none that opens with PERSONAL_KEYS. */
  signing(): Promise<Signing>;
  /** @returns undefined for a kid that no valid key has. */
  verifying(kid: string): Promise<CryptoKey | undefined>;
  jwks(): Promise<JSONWebKeySet>;
  /** SPKI, of the key that signs. */
  pem(): Promise<string>;
}

export function openKeys(db: Database, config: Pick<Config, 'ACCESS_TOKEN_EXPIRE_MINUTES' | 'PERSONAL_KEYS'>): Keys {
  let loaded: Loaded | undefined;
  let loading: Promise<Loaded> | undefined;
  let coming: Promise<Loaded> | undefined;

  async function load(): Promise<Loaded> {
    const rows = await db.query<Row & { retired: boolean }>(
      // Those who sign may notice a new key late: a retired one verifies for that much longer.
      `select kid, public_jwk, private_sealed, retired_at is not null as retired from signing_keys
       where retired_at is null or retired_at > now() - make_interval(mins => $1, secs => $2) order by created_at desc`,
      [config.ACCESS_TOKEN_EXPIRE_MINUTES, RELOAD_MS / 1000],
    );
    const verifying = new Map<string, CryptoKey>();
    for (const row of rows) verifying.set(row.kid, (await importJWK(row.public_jwk, 'EdDSA')) as CryptoKey);
    return {
      newest: rows.find(({ retired }) => !retired),
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

  /** What a look after the call has found; all who wait share it. */
  function fresh(): Promise<Loaded> {
    coming ??= (async () => {
      await loading?.catch(() => {});
      await pause(LOOK_MS - (Date.now() - (loaded?.at ?? 0)));
      coming = undefined;
      return await current(0);
    })();
    return coming;
  }

  /** The same with a key that signs: those who sign make the first one, and another one where nobody here can open it. */
  async function signable(asked: Promise<Loaded>): Promise<Loaded & { signing: Signing }> {
    const sealing = sealingOf(config);
    for (let now = await asked; ; now = loaded = await load()) {
      const { newest } = now;
      const jwk = newest && !now.signing ? open(sealing, newest) : undefined;
      if (jwk) now.signing = { kid: newest!.kid, key: (await importJWK(jwk, 'EdDSA')) as CryptoKey };
      if (now.signing) return now as Loaded & { signing: Signing };
      await rotateUnless(db, sealing, (row) => open(sealing, row) !== undefined);
    }
  }

  return {
    signing: async () => (await signable(current(RELOAD_MS))).signing,
    // Another process may sign with a new key already, and whoever sees it asks here.
    jwks: async () => (await signable(fresh())).jwks,
    async pem() {
      const { newest } = await signable(current(RELOAD_MS));
      return await exportSPKI((await importJWK(newest!.public_jwk, 'EdDSA', { extractable: true })) as CryptoKey);
    },
    async verifying(kid) {
      return (await current(RELOAD_MS)).verifying.get(kid) ?? (await fresh()).verifying.get(kid);
    },
  };
}
