/** Verifies signatures of messages (K07). A message without one costs nothing. */
import { createPublicKey, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { ApiError } from '../contract/errors.ts';
import { type Signable, signedText } from '../contract/signed.ts';
import type { Database } from '../db/database.ts';

// Runs on the thread pool, not on the event loop.
const verifyAsync = promisify(verify);
const refuse = (reason: string): ApiError =>
  new ApiError('invalid_request', `signature: ${reason}`, { details: { field: 'signature' } });

/** @throws {ApiError} `invalid_request` unless the device has published a signing key and signed exactly this message */
export async function checkSignature(
  db: Pick<Database, 'query'>,
  device_id: string,
  message: Signable & { signature: string },
): Promise<void> {
  const [device] = await db.query<{ signing_key: string | null }>(
    'select signing_key from devices where id = $1 and deleted_at is null',
    [device_id],
  );
  if (!device?.signing_key) throw refuse('this device has published no signing key; publish one first');
  const x = Buffer.from(device.signing_key, 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const text = Buffer.from(signedText(message));
  if (!(await verifyAsync(null, text, key, Buffer.from(message.signature, 'base64'))))
    throw refuse('does not match this device and this message');
}
