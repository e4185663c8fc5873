/** Provides the application server key of Web Push (RFC 8292): from the settings, or made once and kept in Postgres. */
import webpush from 'web-push';
import type { Config } from '../config/index.ts';
import type { Database } from '../db/database.ts';

interface VapidKeys {
  /** Base64url, uncompressed P-256 point. */
  public_key: string;
  private_key: string;
}

/** @throws when only one half is set */
export async function vapidKeys(db: Database, config: Config): Promise<VapidKeys> {
  const { VAPID_PUBLIC_KEY: public_key, VAPID_PRIVATE_KEY: private_key } = config;
  if (public_key && private_key) return { public_key, private_key };
  if (public_key || private_key) throw new Error('VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY must be set together');
  const read = (): Promise<VapidKeys[]> =>
    db.query("select public_key, private_key from push_keys where kind = 'vapid'");
  const [known] = await read();
  if (known) return known;
  const made = webpush.generateVAPIDKeys();
  await db.query(
    "insert into push_keys (kind, public_key, private_key) values ('vapid', $1, $2) on conflict do nothing",
    [made.publicKey, made.privateKey],
  );
  return (await read())[0]!;
}
