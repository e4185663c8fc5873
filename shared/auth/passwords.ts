import { randomBytes } from 'node:crypto';
import { type Algorithm, hash, verify } from '@node-rs/argon2';
import type { Config } from '../config/index.ts';

export interface Passwords {
  /** A PHC string, `$argon2id$…`. Runs beside the event loop. */
  hash(password: string): Promise<string>;
  /** Takes the same time whether there is a hash to compare with or not. */
  verify(stored: string | null | undefined, password: string): Promise<boolean>;
}

export async function openPasswords(config: Pick<Config, 'ARGON2_MEMORY_KIB' | 'ARGON2_PASSES'>): Promise<Passwords> {
  const options = {
    // A const enum, which a runtime without a build can't import: 2 is Argon2id.
    algorithm: 2 as Algorithm.Argon2id,
    memoryCost: config.ARGON2_MEMORY_KIB,
    timeCost: config.ARGON2_PASSES,
    parallelism: 1,
  };
  const nobody = await hash(randomBytes(32), options);
  return {
    hash: (password) => hash(password.normalize('NFKC'), options),
    async verify(stored, password) {
      const right = await verify(stored ?? nobody, password.normalize('NFKC'));
      return right && stored != null;
    },
  };
}
