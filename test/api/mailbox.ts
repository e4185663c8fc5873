/** The outside world of codes: a real SMTP server, and a provider of text messages. Both keep what they got. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { SMTPServer } from 'smtp-server';
import { until } from '../env/until.ts';

export interface Letter {
  to: string;
  text: string;
}
export interface Mailbox {
  url: string;
  letters: Letter[];
  /** While true, everything is refused. */
  broken: boolean;
  /** The latest one to that address, after `seen` of them. */
  waitForLetter(to: string, seen?: number): Promise<Letter>;
  close(): Promise<void>;
}

async function nextOf(letters: Letter[], to: string, seen = 0): Promise<Letter> {
  const mine = (): Letter[] => letters.filter((one) => one.to === to);
  await until(() => mine().length > seen);
  return mine().at(-1)!;
}

export async function startMailServer(): Promise<Mailbox> {
  const letters: Letter[] = [];
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS'],
    onAuth: ({ username, password }, _session, done) =>
      username === 'relay' && password === 'let me in'
        ? done(null, { user: username })
        : done(new Error('who are you?')),
    onData(stream, session, done) {
      const chunks: Buffer[] = [];
      stream.on('data', (chunk: Buffer) => chunks.push(chunk));
      stream.on('end', () => {
        if (box.broken) return done(new Error('mailbox full'));
        const text = Buffer.concat(chunks).toString();
        for (const { address } of session.envelope.rcptTo) letters.push({ to: address, text });
        done();
      });
    },
  });
  server.on('error', () => {});
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const box: Mailbox = {
    url: `smtp://relay:let%20me%20in@127.0.0.1:${port}`,
    letters,
    broken: false,
    waitForLetter: (to, seen) => nextOf(letters, to, seen),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return box;
}

export async function startSmsProvider(token: string): Promise<Mailbox> {
  const letters: Letter[] = [];
  const server = createServer(async (request, response) => {
    let text = '';
    for await (const chunk of request) text += chunk;
    const known = request.method === 'POST' && request.headers.authorization === `Bearer ${token}`;
    if (known && !box.broken) letters.push(JSON.parse(text) as Letter);
    response.writeHead(known ? (box.broken ? 500 : 204) : 401).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const box: Mailbox = {
    url: `http://127.0.0.1:${port}/send`,
    letters,
    broken: false,
    waitForLetter: (to, seen) => nextOf(letters, to, seen),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return box;
}

/** The code in a letter. */
export function extractCode({ text }: Letter): string {
  const [code] = /\b\d{6}\b/.exec(text) ?? [];
  if (!code) throw new Error(`no code in: ${text}`);
  return code;
}
/** Any other code. */
export const wrongCode = (code: string): string => String((Number(code) + 1) % 1_000_000).padStart(6, '0');
