/** Signatures of messages (K07). Only messages that carry one cost anything. */
import { createPublicKey, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { ApiError } from '../contract/errors.ts';
import { type Signable, signedText } from '../contract/signed.ts';
import type { Database } from '../db/database.ts';

// Off the event loop.
const verifying = promisify(verify);
const refuse = (reason: string): ApiError =>
  new ApiError('invalid_request', `signature: ${reason}`, { details: { field: 'signature' } });

/** @throws {ApiError} `invalid_request` unless the device has published a signing key and signed exactly this by it. */
export async function checkSignature(
  db: Pick<Database, 'query'>,
  device_id: string,
  message: Signable & { signature: string },
): Promise<void> {
  const [device] = await db.query<{ signing_key: string | null }>(
    'select signing_key from devices where id = $1 and deleted_at is null',
    [device_id],
  );
  if (!device?.signing_key) throw refuse('this device has published no signing key');
  const x = Buffer.from(device.signing_key, 'base64').toString('base64url');
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  const text = Buffer.from(signedText(message));
  if (!(await verifying(null, text, key, Buffer.from(message.signature, 'base64'))))
    throw refuse('is not that of this device for this message');
}
