/** A TCP forwarder that can stop forwarding without closing anything: what a lost network looks like from both ends. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export class Wire {
  readonly #ends = new Set<Socket>();
  readonly #server;
  readonly #to: URL;

  constructor(to: string) {
    this.#to = new URL(to);
    this.#server = createServer((socket) => this.#forward(socket));
  }

  /** @returns where it listens, with the scheme of what it stands before. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `${this.#to.protocol}//127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What is connected now hears nothing any more and is not heard; later connections are forwarded. @returns how many ends */
  freeze(): number {
    const frozen = this.#ends.size;
    for (const end of this.#ends) {
      end.unpipe();
      end.pause();
    }
    return frozen;
  }

  close(): void {
    this.#server.close();
    for (const end of this.#ends) end.destroy();
  }

  #forward(socket: Socket): void {
    const other = connect(Number(this.#to.port), this.#to.hostname);
    for (const [end, peer] of [
      [socket, other],
      [other, socket],
    ] as const) {
      this.#ends.add(end);
      end.on('error', () => {});
      end.on('close', () => {
        this.#ends.delete(end);
        // A frozen end is paused: then its peer is not to hear of it.
        if (!end.isPaused()) peer.destroy();
      });
      end.pipe(peer);
    }
  }
}
