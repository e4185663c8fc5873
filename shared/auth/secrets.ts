/** Makes opaque secrets for clients (256 random bits) and the hashes of which only are stored. */
import { createHash, randomBytes } from 'node:crypto';

export const newSecret = (): string => randomBytes(32).toString('base64url');
/** Returns the SHA-256: a plain hash is enough for a secret that cannot be guessed. */
export const hashSecret = (secret: string): Buffer => createHash('sha256').update(secret).digest();
