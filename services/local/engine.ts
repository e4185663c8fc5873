/** The interface of a server, nats-server or Postgres, that this process started and owns. */
import type { Exit } from './child.ts';

export interface Engine {
  readonly name: string;
  /** With the credentials of clients, if they are part of the URL. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  signal(signal: NodeJS.Signals): void;
  close(): Promise<Exit>;
}
