/** Brings short texts to people: mail over SMTP, text messages through a provider's webhook. */
import { createTransport, type Transporter } from 'nodemailer';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Provable } from './one-time-codes.ts';

export interface CodeSender {
  /** Whether there is a way to that kind of address. */
  reaches(kind: Provable['kind']): boolean;
  /** Resolves once the mail server or the provider has taken it. @throws {ApiError} `unavailable` */
  bring(to: Provable, subject: string, text: string): Promise<void>;
  close(): void;
}

export function openCodeSender(
  config: Pick<Config, 'SMTP_URL' | 'MAIL_FROM' | 'SMS_WEBHOOK_URL' | 'SMS_WEBHOOK_TOKEN' | 'DELIVERY_TIMEOUT_MS'>,
): CodeSender {
  const { SMTP_URL, MAIL_FROM, SMS_WEBHOOK_URL, SMS_WEBHOOK_TOKEN, DELIVERY_TIMEOUT_MS: timeout } = config;
  let mail: Transporter | undefined;
  if (SMTP_URL) {
    const timeouts = { connectionTimeout: timeout, greetingTimeout: timeout, socketTimeout: timeout };
    mail = createTransport({ url: SMTP_URL, pool: true, maxConnections: 4, ...timeouts }, { from: MAIL_FROM });
    // A pooled connection that the server closes while idle is nobody's failure.
    mail.on('error', () => {});
  }

  async function text(to: string, words: string): Promise<void> {
    const response = await fetch(SMS_WEBHOOK_URL!, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(SMS_WEBHOOK_TOKEN && { authorization: `Bearer ${SMS_WEBHOOK_TOKEN}` }),
      },
      body: JSON.stringify({ to, text: words }),
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the provider answered ${response.status}`);
  }

  return {
    reaches: (kind) => (kind === 'email' ? SMTP_URL : SMS_WEBHOOK_URL) !== undefined,
    async bring({ kind, value }, subject, words) {
      try {
        if (kind === 'email') await mail!.sendMail({ to: { name: '', address: value }, subject, text: words });
        else await text(value, words);
      } catch {
        // What went wrong may quote the address.
        throw new ApiError('unavailable', `the ${kind} provider did not take the message`, { retry_after_ms: 5_000 });
      }
    },
    close() {
      mail?.close();
    },
  };
}
