/** Sends short texts to people: mail over SMTP, text messages through a provider's webhook. */
import { createTransport, type Transporter } from 'nodemailer';
import type { Config } from '../../../shared/config/index.ts';
import { ApiError } from '../../../shared/contract/errors.ts';
import type { Provable } from './one-time-codes.ts';

export interface CodeSender {
  /** Whether a provider for that kind of address is configured. */
  reaches(kind: Provable['kind']): boolean;
  /** Resolves once the mail server or the provider has accepted the text. @throws {ApiError} `unavailable` */
  send(to: Provable, subject: string, text: string): Promise<void>;
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
    // The server may close an idle connection of the pool. That fails no message, and unhandled it would end the process.
    mail.on('error', () => {});
  }

  async function sendTextMessage(to: string, text: string): Promise<void> {
    const response = await fetch(SMS_WEBHOOK_URL!, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(SMS_WEBHOOK_TOKEN && { authorization: `Bearer ${SMS_WEBHOOK_TOKEN}` }),
      },
      body: JSON.stringify({ to, text }),
      redirect: 'error',
      signal: AbortSignal.timeout(timeout),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`the provider answered ${response.status}`);
  }

  return {
    reaches: (kind) => (kind === 'email' ? SMTP_URL : SMS_WEBHOOK_URL) !== undefined,
    async send({ kind, value }, subject, text) {
      try {
        if (kind === 'email') await mail!.sendMail({ to: { name: '', address: value }, subject, text });
        else await sendTextMessage(value, text);
      } catch {
        // The provider's own error may quote the address.
        throw new ApiError('unavailable', `the ${kind} provider did not accept the message: try again`, {
          retry_after_ms: 5_000,
        });
      }
    },
    close() {
      mail?.close();
    },
  };
}
