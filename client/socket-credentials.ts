/** Obtains the credentials of a socket, and remembers from the last refusal what the next attempt has to do differently. */
import { SUBPROTOCOL } from '../shared/contract/protocol.ts';
import type { SealwireError } from './errors.ts';
import { findRefusal } from './refusal.ts';
import type { Session } from './session.ts';
import type { Transport } from './transports/types.ts';

export class SocketCredentials {
  /** The last attempt failed in the only way that a page of a refused origin can see. */
  mayBeRefusedOrigin = false;
  /** The last socket was refused before its welcome: the request for a ticket will give the reason. */
  #needsTicket = false;
  readonly #session: Session;
  readonly #canSendHeaders: boolean;

  constructor(session: Session, transport: Transport) {
    this.#session = session;
    this.#canSendHeaders = transport.headers;
  }

  /** Returns the access token as a header, or a ticket among the subprotocols. @throws SealwireError */
  async obtain(): Promise<{ protocols: string[]; headers: Record<string, string> }> {
    if (this.#canSendHeaders && !this.#needsTicket) {
      const token = await this.#session.token();
      return { protocols: [SUBPROTOCOL], headers: { authorization: `Bearer ${token}` } };
    }
    const { ticket } = await this.#session.call<{ ticket: string }>('POST', '/v1/ws/tickets');
    return { protocols: [SUBPROTOCOL, `ticket.${ticket}`], headers: {} };
  }

  noteWelcome(): void {
    this.#needsTicket = false;
  }

  noteUnauthenticated(): void {
    this.#needsTicket = true;
  }

  /** @param status HTTP status of a refused upgrade; undefined where the transport can't see it */
  noteClose(wasConnecting: boolean, status: number | undefined): void {
    // The request for a ticket gives the reason that the transport can't see.
    this.#needsTicket = wasConnecting && (status === undefined || status === 401);
    this.mayBeRefusedOrigin = wasConnecting && (status === 403 || (status === undefined && !this.#canSendHeaders));
  }

  /** @param error the error of `obtain` */
  noteFailure(error: SealwireError): void {
    this.mayBeRefusedOrigin = error.code === 'unavailable' && !this.#canSendHeaders;
  }

  /** Asks the servers whether they refuse the origin of this page. @returns SealwireError `forbidden`, or undefined */
  findRefusal(edge: string): Promise<SealwireError | undefined> {
    this.mayBeRefusedOrigin = false;
    return findRefusal({ edge, api: this.#session.api });
  }
}
