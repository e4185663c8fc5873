/** Logs people in by one-time codes sent to their phone or email, and makes the account where there is none. */
import type { AttemptLimits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { endSessions, type StartedSession } from '../../../shared/auth/sessions.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { BodyOf } from '../../../shared/contract/http/routes.ts';
import type { Database, Transaction } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { normaliseIdentifier } from '../accounts/identifiers.ts';
import type { Account, Accounts } from '../accounts/store.ts';
import { hasDevice, removeDevices } from '../devices/store.ts';
import type { HandlersOf } from '../http/router.ts';
import { lockIfUnchanged, retryOnConflict } from './account-lock.ts';
import type { CodeMessages } from './code-messages.ts';
import type { CodeProof, OneTimeCodes, Provable } from './one-time-codes.ts';
import { type AccountDraft, type SignIn, suspended } from './sign-in.ts';
import type { TokenResponse } from './token-response.ts';

export interface OneTimeCodeDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  limits: AttemptLimits;
  blindIndex: BlindIndex;
  codes: OneTimeCodes;
  codeMessages: CodeMessages;
  signIn: SignIn;
  tokenResponse: TokenResponse;
}
type VerifyBody = BodyOf<'auth.otp.verify'>;

interface Owned extends Required<PersonEvent> {
  account: Account | undefined;
}
interface Entry {
  session: StartedSession;
  /** The account was made by this call. */
  isNew: boolean;
  /** Devices of a stranger who had registered the address without proof. */
  removed: readonly string[];
}

/** @throws {ApiError} `invalid_request` unless the body names exactly one of phone and email. */
function readAddress({ phone, email }: { phone?: string; email?: string }): Provable {
  if ((phone === undefined) === (email === undefined))
    throw new ApiError('invalid_request', 'body: exactly one of phone and email must be given');
  return phone === undefined
    ? { kind: 'email', value: normaliseIdentifier('email', email!) }
    : { kind: 'phone', value: normaliseIdentifier('phone', phone) };
}

function draftAccount(to: Provable, { device: { id: _, ...device }, name }: VerifyBody): AccountDraft {
  return {
    id: uuid7(),
    names: { [to.kind]: to.value },
    password_hash: null,
    body: {
      device: { ...device, name: device.name ?? 'device' },
      verified: to.kind,
      ...(name !== undefined && { name }),
    },
  };
}

export function createOneTimeCodeRoutes(deps: OneTimeCodeDeps): HandlersOf<'auth.otp'> {
  const { config, db, accounts, limits, blindIndex, codes, codeMessages, signIn, tokenResponse } = deps;

  /**
   * Gives the account to the person who has proved to own its address; undefined when a new account has to be made.
   * If somebody registered the address without proof, that person must not stay in the owner's account: neither with a
   * session, nor with a device that others seal for and that is woken by push. A code entered on one of the account's
   * devices shows that both are the same person.
   */
  async function claimAccount(
    tx: Transaction,
    to: Provable,
    account: Account | undefined,
    device_id: string | undefined,
  ): Promise<Owned> {
    if (!account || account.isVerified) return { account, ended: [], removed: [] };
    if (!(await accounts.claimAccount(tx.query, account.id, to))) return { account: undefined, ended: [], removed: [] };
    if (device_id !== undefined && (await hasDevice(tx.em, account.id, device_id)))
      return { account, ended: await endSessions(tx.query, account.id, 'account'), removed: [] };
    return { account, ...(await removeDevices(tx, account.id)) };
  }

  async function enter(to: Provable, proof: CodeProof, body: VerifyBody, ip: string): Promise<Entry | undefined> {
    const found = await accounts.findAccount(to);
    if (found?.isSuspended) throw suspended();
    return await db.transaction(async (tx) => {
      if (found && !(await lockIfUnchanged(tx.query, found))) return undefined;
      await proof.consume(tx.query);
      const { account, ended, removed } = await claimAccount(tx, to, found, body.device.id);
      if (!account) return { session: await signIn.onNewAccount(tx, draftAccount(to, body), ip), isNew: true, removed };
      const session = await signIn.onAccount(tx, account.id, body.device, ip);
      return { session: { ...session, ended: [...ended, ...session.ended] }, isNew: false, removed };
    });
  }

  return {
    async 'auth.otp.request'({ body, ip }) {
      const to = readAddress(body);
      codeMessages.requireReachable(to.kind);
      await limits.takeCodeSend(blindIndex.indexOf(to.kind, to.value), ip);
      await codeMessages.sendCode(to, await codes.createLoginCode(to));
      return { status: 202, data: { status: 'code_sent' as const, expires_in_sec: config.CODE_TTL_SEC } };
    },

    async 'auth.otp.verify'({ body, ip }) {
      const to = readAddress(body);
      const attempt = await limits.attempt(blindIndex.indexOf(to.kind, to.value), ip, body.device.id);
      const proof = await codes.tryLoginCode(to, body.code);
      await attempt.succeeded();
      const { session, isNew, removed } = await retryOnConflict(() => enter(to, proof, body, ip));
      await signIn.rememberClient({ [to.kind]: to.value }, session, ip);
      signIn.announce(session, removed);
      const reply = await tokenResponse.forSession(session, body.cookie);
      return isNew ? { status: 201, ...reply } : { status: 200, ...reply };
    },
  };
}
