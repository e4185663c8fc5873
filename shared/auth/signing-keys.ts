/**
 * Holds the keys that sign and verify access tokens. They are rows in Postgres, so that all processes sign and verify alike.
 * The private key is encrypted under PERSONAL_KEYS, which only services that sign need.
 */
import { createPublicKey, type JsonWebKey, type KeyObject } from 'node:crypto';
import { type CryptoKey, exportSPKI, importJWK, type JSONWebKeySet, type JWK } from 'jose';
import type { Logger } from 'pino';
import { sleep } from '../async/sleep.ts';
import type { Config } from '../config/index.ts';
import type { Database } from '../db/database.ts';
import type { Encryption } from './encryption.ts';
import {
  decryptPrivateKey,
  openSigningKeyEncryption,
  readPrivateKeyRow,
  rotateUnless,
} from './signing-key-rotation.ts';

interface LoadedKeys {
  /** Id of the key that signs. */
  newestKid: string | undefined;
  verifying: Map<string, KeyObject>;
  jwks: JSONWebKeySet;
  /** Monotonic time (`performance.now()`), ms. */
  loadedAtMs: number;
}
export interface SigningKey {
  kid: string;
  key: CryptoKey;
}

/** Services that sign notice a key that another process made within this time. */
const RELOAD_MS = 60_000;
/**
 * An unknown kid, or a request for the JWKS, makes a process load the keys, at most this often: otherwise anybody could
 * make it query Postgres with invented kids.
 */
const LOAD_EVERY_MS = 100;

export interface SigningKeys {
  /** The key that signs. It is made when there is none, and replaced when PERSONAL_KEYS cannot decrypt it. */
  signingKey(): Promise<SigningKey>;
  /** @returns undefined for a kid that no valid key has. @throws when the kid is unknown here and Postgres cannot be asked */
  findVerifyingKey(kid: string): Promise<KeyObject | undefined>;
  /** Looks in memory only. @returns undefined also when the keys in memory are too old */
  cachedVerifyingKey(kid: string): KeyObject | undefined;
  jwks(): Promise<JSONWebKeySet>;
  /** The public key that belongs to the signing key, as SPKI. */
  publicKeyPem(): Promise<string>;
}
type KeyConfig = Pick<Config, 'ACCESS_TOKEN_EXPIRE_MINUTES' | 'PERSONAL_KEYS'>;

export function openSigningKeys(db: Database, config: KeyConfig, log?: Logger): SigningKeys {
  let loaded: LoadedKeys | undefined;
  let loading: Promise<LoadedKeys> | undefined;
  let nextLoad: Promise<LoadedKeys> | undefined;
  let encryption: Encryption | undefined;
  let decrypted: SigningKey | undefined;

  async function load(): Promise<LoadedKeys> {
    loaded = await readKeys(db, config);
    return loaded;
  }
  const loadOnce = (): Promise<LoadedKeys> => {
    loading ??= load().finally(() => {
      loading = undefined;
    });
    return loading;
  };

  /** Returns keys that are at most `RELOAD_MS` old, or while Postgres is away the ones loaded before. */
  async function currentKeys(): Promise<LoadedKeys> {
    if (loaded && performance.now() - loaded.loadedAtMs < RELOAD_MS) return loaded;
    try {
      return await loadOnce();
    } catch (error) {
      if (!loaded) throw error;
      loaded.loadedAtMs = performance.now();
      return loaded;
    }
  }

  /** Returns keys whose load began after this call. All callers that wait share it. */
  function freshKeys(): Promise<LoadedKeys> {
    nextLoad ??= (async () => {
      // A load that is under way may have read before this call.
      await loading?.catch(() => {});
      if (loaded) await sleep(Math.max(0, LOAD_EVERY_MS - (performance.now() - loaded.loadedAtMs)));
      nextLoad = undefined;
      return await loadOnce();
    })();
    return nextLoad;
  }

  async function signingKey(): Promise<SigningKey> {
    for (let keys = await currentKeys(); ; keys = await load()) {
      if (decrypted && decrypted.kid === keys.newestKid) return decrypted;
      encryption ??= openSigningKeyEncryption(config);
      const ours = encryption;
      const row = await readPrivateKeyRow(db.query);
      const jwk = row && decryptPrivateKey(ours, row);
      if (jwk) decrypted = { kid: row.kid, key: (await importJWK(jwk, 'EdDSA')) as CryptoKey };
      else if (await rotateUnless(db, ours, (newest) => decryptPrivateKey(ours, newest) !== undefined))
        if (row) log?.warn({ unit: 'keys', kid: row.kid }, 'PERSONAL_KEYS cannot decrypt the signing key: replaced');
    }
  }

  /** Returns the keys to publish. Another process may sign with a new key already, and whoever meets its kid asks here. */
  async function publishedKeys(): Promise<LoadedKeys> {
    const keys = await freshKeys().catch((error: unknown) => {
      if (!loaded) throw error;
      return loaded;
    });
    if (keys.newestKid !== undefined) return keys;
    await signingKey();
    return loaded!;
  }

  return {
    signingKey,
    jwks: async () => (await publishedKeys()).jwks,
    async publicKeyPem() {
      const { newestKid, jwks } = await publishedKeys();
      const jwk = jwks.keys.find(({ kid }) => kid === newestKid)!;
      return await exportSPKI((await importJWK(jwk, 'EdDSA', { extractable: true })) as CryptoKey);
    },
    cachedVerifyingKey(kid) {
      if (!loaded) return undefined;
      const ageMs = performance.now() - loaded.loadedAtMs;
      // Reloads for the next caller: this one must not wait.
      if (ageMs >= RELOAD_MS) void currentKeys().catch(() => {});
      return ageMs < 2 * RELOAD_MS ? loaded.verifying.get(kid) : undefined;
    },
    async findVerifyingKey(kid) {
      return (await currentKeys()).verifying.get(kid) ?? (await freshKeys()).verifying.get(kid);
    },
  };
}

async function readKeys({ query }: Database, { ACCESS_TOKEN_EXPIRE_MINUTES }: KeyConfig): Promise<LoadedKeys> {
  const rows = await query<{ kid: string; public_jwk: JWK; retired: boolean }>(
    // Services that sign may notice a new key late, so a retired one verifies for that much longer than its tokens live.
    `select kid, public_jwk, retired_at is not null as retired from signing_keys
     where retired_at is null or retired_at > now() - make_interval(mins => $1, secs => $2) order by created_at desc`,
    [ACCESS_TOKEN_EXPIRE_MINUTES, RELOAD_MS / 1000],
  );
  const verifying = new Map<string, KeyObject>();
  for (const row of rows) verifying.set(row.kid, createPublicKey({ key: row.public_jwk as JsonWebKey, format: 'jwk' }));
  return {
    newestKid: rows.find(({ retired }) => !retired)?.kid,
    verifying,
    jwks: { keys: rows.map((row) => row.public_jwk) },
    loadedAtMs: performance.now(),
  };
}
