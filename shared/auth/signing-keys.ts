/**
 * The keys that sign access tokens, in Postgres, so that every process signs and verifies alike. The private one is sealed
 * under PERSONAL_KEYS, which only those need who sign; it goes when the key is retired.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
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
import type { Logger } from 'pino';
import type { Config } from '../config/index.ts';
import type { Database, Query } from '../db/database.ts';
import { type Encryption, openEncryption, readEncryptionKeys } from './encryption.ts';

interface Row {
  kid: string;
  private_sealed: Buffer;
}
interface Signing {
  kid: string;
  key: CryptoKey;
}
interface Loaded {
  /** The key that signs. */
  newest: string | undefined;
  verifying: Map<string, KeyObject>;
  jwks: JSONWebKeySet;
  /** By the clock that nobody sets, ms. */
  at: number;
}

/** A key made elsewhere is noticed after so long by those who sign. */
const RELOAD_MS = 60_000;
/** An unknown kid, or who asks for the JWKS, makes a process look again, at most so often: anybody can make up a kid. */
const LOOK_MS = 100;
const KEYS_LOCK = 7_325_909_202;
const pause = (ms: number): Promise<void> => new Promise((resolve) => void setTimeout(resolve, ms));

const NEWEST = 'select kid, private_sealed from signing_keys where retired_at is null';
const place = (kid: string): string => `signing_keys.private:${kid}`;
const sealingOf = ({ PERSONAL_KEYS }: Pick<Config, 'PERSONAL_KEYS'>): Encryption =>
  openEncryption('PERSONAL_KEYS', readEncryptionKeys('PERSONAL_KEYS', PERSONAL_KEYS));

/** @returns undefined when none of the keys opens it. */
function open(sealing: Encryption, { kid, private_sealed }: Row): JWK | undefined {
  try {
    return JSON.parse(sealing.decrypt(private_sealed, place(kid))) as JWK;
  } catch {
    return undefined;
  }
}

async function insertKey(query: Query, sealing: Encryption): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const public_jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(public_jwk);
  const private_jwk = JSON.stringify({ ...(await exportJWK(privateKey)), alg: 'EdDSA' });
  await query('insert into signing_keys (kid, public_jwk, private_sealed) values ($1, $2, $3)', [
    kid,
    JSON.stringify({ ...public_jwk, kid, alg: 'EdDSA', use: 'sig' }),
    sealing.encrypt(private_jwk, place(kid)),
  ]);
}

/** A new key signs from now on; the ones before go on verifying until the last token signed by them has expired. */
export function rotateSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  return rotateUnless(db, sealingOf(config), () => false);
}

/** Rotates when the key is sealed under another one than writing uses now. @returns whether it did */
export function renewSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  const sealing = sealingOf(config);
  return rotateUnless(db, sealing, ({ private_sealed }) => sealing.isCurrent(private_sealed));
}

function rotateUnless(db: Database, sealing: Encryption, good: (newest: Row) => boolean): Promise<boolean> {
  return db.transaction(async ({ query }) => {
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
  /** Made when there is none; replaced when it does not open with PERSONAL_KEYS. */
  signing(): Promise<Signing>;
  /** @returns undefined for a kid that no valid key has. @throws while Postgres can't be asked about an unknown one. */
  verifying(kid: string): Promise<KeyObject | undefined>;
  /** What is known without asking; undefined also where that is too long ago. */
  known(kid: string): KeyObject | undefined;
  jwks(): Promise<JSONWebKeySet>;
  /** SPKI, of the key that signs. */
  pem(): Promise<string>;
}
type Terms = Pick<Config, 'ACCESS_TOKEN_EXPIRE_MINUTES' | 'PERSONAL_KEYS'>;

export function openKeys(db: Database, config: Terms, log?: Logger): Keys {
  let loaded: Loaded | undefined;
  let loading: Promise<Loaded> | undefined;
  let coming: Promise<Loaded> | undefined;
  let sealing: Encryption | undefined;
  let opened: Signing | undefined;

  async function load(): Promise<Loaded> {
    const rows = await db.query<{ kid: string; public_jwk: JWK; retired: boolean }>(
      // Those who sign may notice a new key late: a retired one verifies for that much longer.
      `select kid, public_jwk, retired_at is not null as retired from signing_keys
       where retired_at is null or retired_at > now() - make_interval(mins => $1, secs => $2) order by created_at desc`,
      [config.ACCESS_TOKEN_EXPIRE_MINUTES, RELOAD_MS / 1000],
    );
    const verifying = new Map<string, KeyObject>();
    for (const row of rows)
      verifying.set(row.kid, createPublicKey({ key: row.public_jwk as JsonWebKey, format: 'jwk' }));
    const newest = rows.find(({ retired }) => !retired)?.kid;
    loaded = { newest, verifying, jwks: { keys: rows.map((row) => row.public_jwk) }, at: performance.now() };
    return loaded;
  }

  const look = (): Promise<Loaded> => {
    loading ??= load().finally(() => {
      loading = undefined;
    });
    return loading;
  };

  /** Keys that are at most `RELOAD_MS` old, if Postgres is there to ask; else the ones known before. */
  async function current(): Promise<Loaded> {
    if (loaded && performance.now() - loaded.at < RELOAD_MS) return loaded;
    try {
      return await look();
    } catch (error) {
      if (!loaded) throw error;
      loaded.at = performance.now();
      return loaded;
    }
  }

  /** What a look after the call has found; all who wait share it. */
  function fresh(): Promise<Loaded> {
    coming ??= (async () => {
      await loading?.catch(() => {});
      if (loaded) await pause(Math.max(0, LOOK_MS - (performance.now() - loaded.at)));
      coming = undefined;
      return await look();
    })();
    return coming;
  }

  async function signing(): Promise<Signing> {
    for (let now = await current(); ; now = await load()) {
      if (opened && opened.kid === now.newest) return opened;
      sealing ??= sealingOf(config);
      const mine = sealing;
      const [row] = await db.query<Row>(NEWEST);
      const jwk = row && open(mine, row);
      if (jwk) opened = { kid: row.kid, key: (await importJWK(jwk, 'EdDSA')) as CryptoKey };
      else if ((await rotateUnless(db, mine, (one) => open(mine, one) !== undefined)) && row)
        log?.warn(
          { unit: 'keys', kid: row.kid },
          'the key that signs tokens does not open with PERSONAL_KEYS: replaced',
        );
    }
  }

  /** What is published: another process may sign with a new key already, and whoever sees it asks here. */
  async function published(): Promise<Loaded> {
    const now = await fresh().catch((error: unknown) => {
      if (!loaded) throw error;
      return loaded;
    });
    if (now.newest !== undefined) return now;
    await signing();
    return loaded!;
  }

  return {
    signing,
    jwks: async () => (await published()).jwks,
    async pem() {
      const { newest, jwks } = await published();
      const jwk = jwks.keys.find(({ kid }) => kid === newest)!;
      return await exportSPKI((await importJWK(jwk, 'EdDSA', { extractable: true })) as CryptoKey);
    },
    known(kid) {
      if (!loaded) return undefined;
      const age = performance.now() - loaded.at;
      // Who asks next knows more.
      if (age >= RELOAD_MS) void current().catch(() => {});
      return age < 2 * RELOAD_MS ? loaded.verifying.get(kid) : undefined;
    },
    async verifying(kid) {
      return (await current()).verifying.get(kid) ?? (await fresh()).verifying.get(kid);
    },
  };
}
