/** Ways in: registration, log-in by password, verification, log-in by code. */
import type { Limits } from '../../../shared/auth/attempt-limits.ts';
import type { BlindIndex } from '../../../shared/auth/blind-index.ts';
import { endSessions, type Sessions, type Started } from '../../../shared/auth/sessions.ts';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { LoginBody, RegisterBody } from '../../../shared/contract/http/auth.ts';
import type { Database, Transaction } from '../../../shared/db/database.ts';
import { uuid7 } from '../../../shared/ids.ts';
import type { PersonEvent } from '../../../shared/pipeline/person-event.ts';
import { type IdentifierKind, normalise, recognise } from '../accounts/identifiers.ts';
import type { Account, Accounts, Names, NewAccount } from '../accounts/store.ts';
import { hasDevice, refuseTooMany, removeDevices } from '../devices/store.ts';
import type { HandlersOf } from '../http/router.ts';
import { targetOf } from '../push/target.ts';
import type { CodeSender } from './code-sender.ts';
import type { Codes, Provable } from './one-time-codes.ts';
import type { Passwords } from './passwords.ts';
import { again, type Entering, hold } from './token-response.ts';

export interface WaysInDeps {
  config: Config;
  db: Database;
  accounts: Accounts;
  passwords: Passwords;
  limits: Limits;
  sealer: BlindIndex;
  sessions: Sessions;
  codes: Codes;
  courier: CodeSender;
  entering: Entering;
  /** Tells all processes that a person's devices are others now, and which sessions and devices ended with that. */
  changed(user_id: string, event: PersonEvent): void;
}
/** What waits for the code. */
interface Pending {
  names: Names;
  password_hash: string;
  body: NewAccount;
}

const IDENTIFIERS: IdentifierKind[] = ['phone', 'email', 'username'];
const missing = (what: string): ApiError => new ApiError('invalid_request', `body: ${what} is missing`);
const suspended = (): ApiError => new ApiError('forbidden', 'this account is suspended');

/** @throws {ApiError} `invalid_request` */
export function checkPassword(password: string, { PASSWORD_MIN_LENGTH }: Config): void {
  if ([...password].length < PASSWORD_MIN_LENGTH)
    throw new ApiError('invalid_request', `body: password must have ${PASSWORD_MIN_LENGTH} characters`, {
      details: { field: 'password' },
    });
}

/** Which one of phone and email a body names. @throws {ApiError} `invalid_request` unless it is one. */
function provable({ phone, email }: { phone?: string; email?: string }): Provable {
  if ((phone === undefined) === (email === undefined)) throw missing('exactly one of phone and email');
  return phone === undefined
    ? { kind: 'email', value: normalise('email', email!) }
    : { kind: 'phone', value: normalise('phone', phone) };
}

export function waysIn(
  deps: WaysInDeps,
): HandlersOf<'auth.register' | 'auth.verify' | 'auth.login' | 'auth.otp' | 'auth.refresh'> {
  const { config, db, accounts, passwords, limits, sealer, sessions, codes, courier, entering, changed } = deps;
  const verifies = config.AUTH_VERIFICATION === 'off' ? undefined : config.AUTH_VERIFICATION;

  function mayReach(kind: Provable['kind']): void {
    if (courier.reaches(kind) || config.OTP_DEV_CODE !== undefined) return;
    throw new ApiError('forbidden', `this server sends no codes by ${kind}`);
  }
  async function sendCode(to: Provable, code: string): Promise<void> {
    if (!courier.reaches(to.kind)) return;
    const minutes = Math.ceil(config.CODE_TTL_SEC / 60);
    await courier.bring(
      to,
      `Your code is ${code}`,
      `${code} is your code. It is good for ${minutes} minutes. Tell it to nobody.`,
    );
  }

  function namesOf(body: RegisterBody): Names {
    const names: Names = {};
    for (const kind of IDENTIFIERS) if (body[kind] !== undefined) names[kind] = normalise(kind, body[kind]);
    if (Object.keys(names).length === 0) throw missing('phone, email or username');
    if (!verifies) return names;
    // Whoever could claim an address without proof would keep its owner out, and learn whether it is taken.
    const other = verifies === 'email' ? 'phone' : 'email';
    if (names[other] !== undefined)
      throw new ApiError('invalid_request', `body: ${other} can't be verified here`, { details: { field: other } });
    if (names[verifies] === undefined) throw missing(verifies);
    return names;
  }

  /** A session on a device of theirs, or on a new one. Inside a transaction that holds their row. @throws {ApiError} `conflict` */
  async function signIn(tx: Transaction, user_id: string, device: LoginBody['device'], ip: string): Promise<Started> {
    if (device.id === undefined || !(await hasDevice(tx.em, user_id, device.id)))
      await refuseTooMany(tx.query, user_id, config.DEVICES_MAX);
    const { id, added } = await accounts.signIn(tx, user_id, device);
    const session = await sessions.start(tx, user_id, id, ip);
    return { ...session, added };
  }
  const tell = ({ holder, ended, added }: Started, removed: readonly string[] = []): void => {
    if (added || ended.length || removed.length) changed(holder.user_id, { ended, removed });
  };
  /** Where somebody got in, wrong passwords of others don't lock that person out. */
  const remember = (names: Names, { holder }: Started, ip: string): Promise<void> => {
    const who = Object.entries(names).map(([kind, value]) => sealer.lookup(kind as IdentifierKind, value));
    return limits.remember(who, ip, holder.device_id);
  };
  async function create(tx: Transaction, id: string, names: Names, hash: string | null, body: NewAccount, ip: string) {
    return await sessions.start(tx, id, await accounts.create(tx, id, names, hash, body), ip);
  }

  /** The account of who proved to own an address; undefined when a new one has to be made. */
  async function owned(
    tx: Transaction,
    to: Provable,
    account: Account | undefined,
    device: string | undefined,
  ): Promise<{ account: Account | undefined } & Required<PersonEvent>> {
    if (!account || account.verified) return { account, ended: [], removed: [] };
    // Somebody registered it without proof. Whoever that was must not stay in the account of its owner: not with a session,
    // nor with a device that others seal for and that is woken when something comes. Who comes on one of its devices is
    // the same person.
    if (!(await accounts.claim(tx.query, account.id, to))) return { account: undefined, ended: [], removed: [] };
    if (device !== undefined && (await hasDevice(tx.em, account.id, device)))
      return { account, ended: await endSessions(tx.query, account.id, 'account'), removed: [] };
    return { account, ...(await removeDevices(tx, account.id)) };
  }

  return {
    async 'auth.register'({ body, ip }) {
      const { password, phone: _phone, email: _email, username: _username, cookie, ...rest } = body;
      const names = namesOf(body);
      checkPassword(password, config);
      if (body.device.push) targetOf(body.device.push, config);
      const id = uuid7();
      if (!verifies) {
        const hash = await passwords.hash(password);
        const session = await db.transaction((tx) => create(tx, id, names, hash, rest, ip));
        await remember(names, session, ip);
        return { status: 201, ...(await entering.loggedIn(session, cookie)) };
      }
      const to: Provable = { kind: verifies, value: names[verifies]! };
      await limits.send(sealer.lookup(to.kind, to.value), ip);
      if (names.username && (await accounts.find({ kind: 'username', value: names.username })))
        throw new ApiError('conflict', 'this username belongs to an account', { details: { field: 'username' } });
      const pending: Pending = {
        names,
        password_hash: await passwords.hash(password),
        body: { ...rest, verified: verifies },
      };
      const [code, taken] = [await codes.forPending(id, to, pending), await accounts.find(to)];
      if (!taken) await sendCode(to, code);
      else if (courier.reaches(to.kind))
        await courier.bring(
          to,
          'You have an account already',
          'Somebody, perhaps you, tried to register this address, which has an account. Log in instead.',
        );
      return { status: 202, data: { user_id: id, status: 'verification_sent' as const } };
    },

    async 'auth.verify'({ body: { user_id, code, cookie }, ip }) {
      const guess = await limits.guess(sealer.lookup('pending', user_id), ip);
      const proof = await codes.tryPending(user_id, code);
      const { names, password_hash, body } = proof.pending as Pending;
      const session = await db.transaction(async (tx) => {
        await proof.use(tx.query);
        return await create(tx, user_id, names, password_hash, body, ip);
      });
      await Promise.all([guess.right(), remember(names, session, ip)]);
      return { status: 201, ...(await entering.loggedIn(session, cookie)) };
    },

    async 'auth.login'({ body, ip }) {
      const named = recognise(body.identifier) ?? { kind: 'username', value: body.identifier };
      const guess = await limits.guess(sealer.lookup(named.kind, named.value), ip, body.device.id);
      const session = await again(async () => {
        const account = await accounts.find(named);
        const right = await passwords.verify(account?.password_hash, body.password);
        if (!account || !right) throw new ApiError('unauthenticated', 'identifier or password is wrong');
        // At once: what is refused from here on is not refused for a wrong password.
        await guess.right();
        if (account.suspended) throw suspended();
        if (passwords.stale(account.password_hash!)) {
          const hash = await passwords.hash(body.password);
          if (await accounts.rehash(account.id, account.password_hash!, hash)) account.password_hash = hash;
        }
        return await db.transaction(async (tx) =>
          (await hold(tx.query, account)) ? await signIn(tx, account.id, body.device, ip) : undefined,
        );
      });
      await remember({ [named.kind]: named.value }, session, ip);
      tell(session);
      return { status: 200, ...(await entering.loggedIn(session, body.cookie)) };
    },

    async 'auth.otp.request'({ body, ip }) {
      const to = provable(body);
      mayReach(to.kind);
      await limits.send(sealer.lookup(to.kind, to.value), ip);
      await sendCode(to, await codes.forLogin(to));
      return { status: 202, data: { status: 'code_sent' as const, expires_in_sec: config.CODE_TTL_SEC } };
    },

    async 'auth.otp.verify'({ body, ip }) {
      const to = provable(body);
      const guess = await limits.guess(sealer.lookup(to.kind, to.value), ip, body.device.id);
      const proof = await codes.tryLogin(to, body.code);
      await guess.right();
      let made = false;
      let strangers: readonly string[] = [];
      const session = await again(async () => {
        const found = await accounts.find(to);
        if (found?.suspended) throw suspended();
        return await db.transaction(async (tx) => {
          if (found && !(await hold(tx.query, found))) return undefined;
          await proof.use(tx.query);
          const { account, ended, removed } = await owned(tx, to, found, body.device.id);
          strangers = removed;
          made = !account;
          if (account) {
            const started = await signIn(tx, account.id, body.device, ip);
            return { ...started, ended: [...ended, ...started.ended] };
          }
          const device = { ...body.device, name: body.device.name ?? 'device' };
          const { id: _, ...given } = device;
          const about = { device: given, verified: to.kind, ...(body.name !== undefined && { name: body.name }) };
          return await create(tx, uuid7(), { [to.kind]: to.value }, null, about, ip);
        });
      });
      await remember({ [to.kind]: to.value }, session, ip);
      tell(session, strangers);
      const told = await entering.loggedIn(session, body.cookie);
      return made ? { status: 201, ...told } : { status: 200, ...told };
    },

    async 'auth.refresh'({ body, browser, ip }) {
      return { status: 200, ...(await entering.refresh(body.refresh_token, browser, ip)) };
    },
  };
}
