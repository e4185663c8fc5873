/** Opaque secrets given to clients: 256 random bits, of which only the hash is kept. */
import { createHash, randomBytes } from 'node:crypto';

export const newSecret = (): string => randomBytes(32).toString('base64url');
/** SHA-256; a plain hash is enough for what can't be guessed. */
export const hashSecret = (secret: string): Buffer => createHash('sha256').update(secret).digest();
