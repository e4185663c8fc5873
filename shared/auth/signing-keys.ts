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
  const loader = new KeyLoader(db, config);
  let encryption: Encryption | undefined;
  let decrypted: SigningKey | undefined;

  async function signingKey(): Promise<SigningKey> {
    for (let keys = await loader.current(); ; keys = await loader.load()) {
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
    const keys = await loader.fresh().catch((error: unknown) => {
      if (!loader.loaded) throw error;
      return loader.loaded;
    });
    if (keys.newestKid !== undefined) return keys;
    await signingKey();
    return loader.loaded!;
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
      const { loaded } = loader;
      if (!loaded) return undefined;
      const ageMs = performance.now() - loaded.loadedAtMs;
      // Reloads for the next caller: this one must not wait.
      if (ageMs >= RELOAD_MS) void loader.current().catch(() => {});
      return ageMs < 2 * RELOAD_MS ? loaded.verifying.get(kid) : undefined;
    },
    async findVerifyingKey(kid) {
      return (await loader.current()).verifying.get(kid) ?? (await loader.fresh()).verifying.get(kid);
    },
  };
}

/** Loads the public keys of all processes, and remembers them. */
class KeyLoader {
  readonly #db: Database;
  readonly #config: KeyConfig;
  #loading: Promise<LoadedKeys> | undefined;
  #nextLoad: Promise<LoadedKeys> | undefined;
  loaded: LoadedKeys | undefined;

  constructor(db: Database, config: KeyConfig) {
    this.#db = db;
    this.#config = config;
  }

  async load(): Promise<LoadedKeys> {
    this.loaded = await readKeys(this.#db, this.#config);
    return this.loaded;
  }

  /** Returns keys that are at most `RELOAD_MS` old, or while Postgres is away the ones loaded before. */
  async current(): Promise<LoadedKeys> {
    if (this.loaded && performance.now() - this.loaded.loadedAtMs < RELOAD_MS) return this.loaded;
    try {
      return await this.#loadOnce();
    } catch (error) {
      if (!this.loaded) throw error;
      this.loaded.loadedAtMs = performance.now();
      return this.loaded;
    }
  }

  /** Returns keys whose load began after this call. All callers that wait share it. */
  fresh(): Promise<LoadedKeys> {
    this.#nextLoad ??= (async () => {
      // A load that is under way may have read before this call.
      await this.#loading?.catch(() => {});
      if (this.loaded) await sleep(Math.max(0, LOAD_EVERY_MS - (performance.now() - this.loaded.loadedAtMs)));
      this.#nextLoad = undefined;
      return await this.#loadOnce();
    })();
    return this.#nextLoad;
  }

  #loadOnce(): Promise<LoadedKeys> {
    this.#loading ??= this.load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }
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
