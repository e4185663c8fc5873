/** The routes about the server itself. */
import { SERVER_VERSION } from '../../shared/version.ts';
import type { HandlersOf } from './http/router.ts';

export function serverRoutes(): HandlersOf<'server'> {
  return {
    async 'server.ping'() {
      return { status: 200, data: { server_version: SERVER_VERSION, server_time: new Date().toISOString() } };
    },
  };
}
