/** Registers accounts: at once, or once a code has proved that the address belongs to the person. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { RegisterBody } from '../../../shared/contract/http/auth.ts';
import type { Database } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import { type IdentifierKind, normaliseIdentifier } from '../accounts/identifiers.ts';
import type { Names } from '../accounts/insert-account.ts';
import type { Accounts } from '../accounts/store.ts';
import type { HandlersOf } from '../http/router.ts';
import { toPushTarget } from '../push/target.ts';
import type { CodeMessages } from './code-messages.ts';
import type { OneTimeCodes, Provable } from './one-time-codes.ts';
import { checkPassword } from './password-rules.ts';
import type { Passwords } from './passwords.ts';
import type { AccountDraft, SignIn } from './sign-in.ts';
import type { TokenResponse } from './token-response.ts';

export interface RegisterDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  passwords: Passwords;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
  codes: OneTimeCodes;
  codeMessages: CodeMessages;
  signIn: SignIn;
  tokenResponse: TokenResponse;
}
type Draft = Omit<AccountDraft, 'password_hash'>;
/** An account that waits for its code; stored sealed. */
type Pending = Omit<AccountDraft, 'id'>;

const IDENTIFIERS: IdentifierKind[] = ['phone', 'email', 'username'];
const missing = (what: string): ApiError => new ApiError('invalid_request', `body: ${what} is missing`);

/** @throws {ApiError} `invalid_request` */
function readNames(body: RegisterBody, verification: Provable['kind'] | undefined): Names {
  const names: Names = {};
  for (const kind of IDENTIFIERS) if (body[kind] !== undefined) names[kind] = normaliseIdentifier(kind, body[kind]);
  if (Object.keys(names).length === 0) throw missing('phone, email or username');
  if (!verification) return names;
  // Claiming an address without proof would keep its owner out, and would tell whether it has an account.
  const other = verification === 'email' ? 'phone' : 'email';
  if (names[other] !== undefined)
    throw new ApiError('invalid_request', `body: ${other} cannot be verified by this server: leave it out`, {
      details: { field: other },
    });
  if (names[verification] === undefined) throw missing(verification);
  return names;
}

export function createRegister(deps: RegisterDeps): HandlersOf<'auth.register' | 'auth.verify'> {
  const { config, db, accounts, passwords, limits, blindIndex, codes, codeMessages, signIn, tokenResponse } = deps;
  const verification = config.AUTH_VERIFICATION === 'off' ? undefined : config.AUTH_VERIFICATION;

  /** Sends the code. The owner of an address that has an account gets another message, and the caller the same reply. */
  async function requestProof(to: Provable, { id, names, body }: Draft, password: string, ip: string): Promise<void> {
    await limits.takeCodeSend(blindIndex.indexOf(to.kind, to.value), ip);
    const { username } = names;
    if (username && (await accounts.findAccount({ kind: 'username', value: username })))
      throw new ApiError('conflict', 'body: username belongs to an account: choose another one', {
        details: { field: 'username' },
      });
    const pending: Pending = { names, password_hash: await passwords.hash(password), body };
    const code = await codes.createPendingCode(id, to, pending);
    if (await accounts.findAccount(to)) await codeMessages.sendAlreadyRegistered(to);
    else await codeMessages.sendCode(to, code);
  }

  return {
    async 'auth.register'({ body, ip }) {
      const { password, phone: _phone, email: _email, username: _username, cookie, ...account } = body;
      const names = readNames(body, verification);
      checkPassword(password, config);
      if (body.device.push) toPushTarget(body.device.push, config);
      const id = uuid7();
      if (verification) {
        const to: Provable = { kind: verification, value: names[verification]! };
        await requestProof(to, { id, names, body: { ...account, verified: verification } }, password, ip);
        return { status: 202, data: { user_id: id, status: 'verification_sent' as const } };
      }
      const draft = { id, names, password_hash: await passwords.hash(password), body: account };
      const session = await db.transaction((tx) => signIn.onNewAccount(tx, draft, ip));
      await signIn.rememberClient(names, session, ip);
      return { status: 201, ...(await tokenResponse.forSession(session, cookie)) };
    },

    async 'auth.verify'({ body: { user_id, code, cookie }, ip }) {
      const attempt = await limits.attempt(blindIndex.indexOf('pending', user_id), ip);
      const proof = await codes.tryPendingCode(user_id, code);
      const draft = { id: user_id, ...(proof.pending as Pending) };
      const session = await db.transaction(async (tx) => {
        await proof.consume(tx.query);
        return await signIn.onNewAccount(tx, draft, ip);
      });
      await Promise.all([attempt.succeeded(), signIn.rememberClient(draft.names, session, ip)]);
      return { status: 201, ...(await tokenResponse.forSession(session, cookie)) };
    },
  };
}
