/** Makes, encrypts and replaces the keys that sign access tokens. A retired key loses its private half. */
import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JWK } from 'jose';
import type { Config } from '../config/index.ts';
import type { Database, Query } from '../db/database.ts';
import { type Encryption, openEncryption, readEncryptionKeys } from './encryption.ts';

interface PrivateKeyRow {
  kid: string;
  private_sealed: Buffer;
}

/** Any number that nothing else in this database locks. */
const KEYS_LOCK = 7_325_909_202;

const contextOf = (kid: string): string => `signing_keys.private:${kid}`;
export const openSigningKeyEncryption = ({ PERSONAL_KEYS }: Pick<Config, 'PERSONAL_KEYS'>): Encryption =>
  openEncryption('PERSONAL_KEYS', readEncryptionKeys('PERSONAL_KEYS', PERSONAL_KEYS));

/** Reads the key that signs; undefined when there is none yet. */
export async function readPrivateKeyRow(query: Query): Promise<PrivateKeyRow | undefined> {
  const [row] = await query<PrivateKeyRow>('select kid, private_sealed from signing_keys where retired_at is null');
  return row;
}

/** @returns undefined when none of the keys of PERSONAL_KEYS decrypts it. */
export function decryptPrivateKey(encryption: Encryption, { kid, private_sealed }: PrivateKeyRow): JWK | undefined {
  try {
    return JSON.parse(encryption.decrypt(private_sealed, contextOf(kid))) as JWK;
  } catch {
    return undefined;
  }
}

/** Makes a new key that signs from now on. The ones before verify until the last token that they signed has expired. */
export function rotateSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  return rotateUnless(db, openSigningKeyEncryption(config), () => false);
}

/** Rotates when the key is encrypted under another key than writing uses now. @returns whether it did */
export function renewSigningKey(db: Database, config: Pick<Config, 'PERSONAL_KEYS'>): Promise<boolean> {
  const encryption = openSigningKeyEncryption(config);
  return rotateUnless(db, encryption, ({ private_sealed }) => encryption.isCurrent(private_sealed));
}

/** Rotates unless `isGood` accepts the key that signs; processes that rotate at once take turns. @returns whether it did */
export function rotateUnless(
  db: Database,
  encryption: Encryption,
  isGood: (newest: PrivateKeyRow) => boolean,
): Promise<boolean> {
  return db.transaction(async ({ query }) => {
    await query('select pg_advisory_xact_lock($1)', [KEYS_LOCK]);
    const newest = await readPrivateKeyRow(query);
    if (newest && isGood(newest)) return false;
    await query('update signing_keys set retired_at = now(), private_sealed = null where retired_at is null');
    await insertKey(query, encryption);
    return true;
  });
}

async function insertKey(query: Query, encryption: Encryption): Promise<void> {
  const { publicKey, privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const public_jwk = await exportJWK(publicKey);
  const kid = await calculateJwkThumbprint(public_jwk);
  const private_jwk = JSON.stringify({ ...(await exportJWK(privateKey)), alg: 'EdDSA' });
  await query('insert into signing_keys (kid, public_jwk, private_sealed) values ($1, $2, $3)', [
    kid,
    JSON.stringify({ ...public_jwk, kid, alg: 'EdDSA', use: 'sig' }),
    encryption.encrypt(private_jwk, contextOf(kid)),
  ]);
}
