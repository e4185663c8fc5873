/** Routes by which operators manage service tokens. */
import { ApiError } from '../../../shared/contract/errors.ts';
import { idCursor, paginate } from '../http/pagination.ts';
import type { HandlersOf } from '../http/router.ts';
import type { ServiceTokens } from './service-tokens.ts';

export function createServiceTokenRoutes(serviceTokens: ServiceTokens): HandlersOf<'serviceTokens'> {
  return {
    async 'serviceTokens.create'({ body: { name, scopes, expires_in_days } }) {
      return { status: 201, data: await serviceTokens.create(name, scopes, expires_in_days) };
    },

    async 'serviceTokens.list'({ query: { limit = 50, cursor } }) {
      const tokens = await serviceTokens.list(idCursor.decode(cursor), limit + 1);
      return { status: 200, data: paginate(tokens, limit, ({ id }) => idCursor.encode(id)) };
    },

    async 'serviceTokens.delete'({ id }) {
      if (!(await serviceTokens.remove(id))) throw new ApiError('not_found', 'there is no such service token');
      return { status: 200, data: { id } };
    },
  };
}
