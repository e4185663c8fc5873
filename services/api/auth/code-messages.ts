/** Writes the messages that bring one-time codes to people. */
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { CodeSender } from './code-sender.ts';
import type { Provable } from './one-time-codes.ts';

export interface CodeMessages {
  /** @throws {ApiError} `forbidden` where this server cannot send codes to that kind of address. */
  requireReachable(kind: Provable['kind']): void;
  /** Sends nothing where only OTP_DEV_CODE makes the address reachable. @throws {ApiError} `unavailable` */
  sendCode(to: Provable, code: string): Promise<void>;
  /** Tells the owner of an address that another registration used it. @throws {ApiError} `unavailable` */
  sendAlreadyRegistered(to: Provable): Promise<void>;
}

export function createCodeMessages(
  { OTP_DEV_CODE, CODE_TTL_SEC }: Pick<Config, 'OTP_DEV_CODE' | 'CODE_TTL_SEC'>,
  sender: CodeSender,
): CodeMessages {
  return {
    requireReachable(kind) {
      if (sender.reaches(kind) || OTP_DEV_CODE !== undefined) return;
      const other = kind === 'email' ? 'phone' : 'email';
      throw new ApiError('forbidden', `this server sends no codes by ${kind}: try ${other}, or log in by password`);
    },
    async sendCode(to, code) {
      if (!sender.reaches(to.kind)) return;
      const minutes = Math.ceil(CODE_TTL_SEC / 60);
      await sender.send(
        to,
        `Your code is ${code}`,
        `${code} is your code. It is good for ${minutes} minutes. Tell it to nobody.`,
      );
    },
    async sendAlreadyRegistered(to) {
      if (!sender.reaches(to.kind)) return;
      await sender.send(
        to,
        'You have an account already',
        'Somebody, perhaps you, tried to register this address, which has an account. Log in instead.',
      );
    },
  };
}
