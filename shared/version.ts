/** The version of this server, as package.json states it. */
import { createRequire } from 'node:module';

export const SERVER_VERSION = (createRequire(import.meta.url)('../package.json') as { version: string }).version;
