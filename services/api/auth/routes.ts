/** The routes of registration, log-in, tokens and sessions, put together from the files of this folder. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Sessions } from '../../../shared/auth/sessions.ts';
import type { Tokens } from '../../../shared/auth/tokens.ts';
import type { Config } from '../../../shared/config/index.ts';
import type { Database } from '../../../shared/db/database.ts';
import type { Origins } from '../../../shared/origins.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import type { Accounts } from '../accounts/store.ts';
import type { Cookies } from '../http/cookies.ts';
import type { HandlersOf } from '../http/router.ts';
import { createChangePassword } from './change-password.ts';
import { createCodeMessages } from './code-messages.ts';
import type { CodeSender } from './code-sender.ts';
import type { ConfirmPassword } from './confirm-password.ts';
import { createLogin } from './login.ts';
import { createOneTimeCodeRoutes } from './one-time-code-routes.ts';
import { openOneTimeCodes } from './one-time-codes.ts';
import type { Passwords } from './passwords.ts';
import { createRegister } from './register.ts';
import { createServiceTokenRoutes } from './service-token-routes.ts';
import type { ServiceTokens } from './service-tokens.ts';
import { createSessionRoutes } from './session-routes.ts';
import { createSignIn } from './sign-in.ts';
import { createTokenResponse } from './token-response.ts';
import { createTokenRoutes } from './token-routes.ts';

export interface AuthDeps {
  config: Config;
  db: Database;
  origins: Origins;
  cookies: Cookies;
  accounts: Accounts;
  passwords: Passwords;
  confirmPassword: ConfirmPassword;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
  sessions: Sessions;
  tokens: Tokens;
  serviceTokens: ServiceTokens;
  codeSender: CodeSender;
  /** Tells all processes that a person's devices or sessions have changed. Resolves when partners were told, or soon. */
  announceChange(user_id: string, event: PersonEvent): Promise<void>;
}

export function authRoutes(base: AuthDeps): HandlersOf<'auth' | 'sessions' | 'serviceTokens'> {
  const { config, db, blindIndex } = base;
  const deps = {
    ...base,
    codes: openOneTimeCodes(db, blindIndex, config),
    codeMessages: createCodeMessages(config, base.codeSender),
    signIn: createSignIn(base),
    tokenResponse: createTokenResponse(base),
  };
  return {
    ...createRegister(deps),
    ...createLogin(deps),
    ...createOneTimeCodeRoutes(deps),
    ...createTokenRoutes(deps),
    ...createChangePassword(deps),
    ...createSessionRoutes(deps),
    ...createServiceTokenRoutes(base.serviceTokens),
  };
}
