/**
 * Forwards TCP connections, and can stop forwarding without closing anything: to both ends this looks like a network that
 * has failed.
 */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export class TcpForwarder {
  /** Both ends of every forwarded connection. */
  readonly #sockets = new Set<Socket>();
  readonly #server;
  readonly #target: URL;

  constructor(target: string) {
    this.#target = new URL(target);
    this.#server = createServer((socket) => this.#forward(socket));
  }

  /** @returns the forwarder's own URL, with the scheme of the target */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `${this.#target.protocol}//127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Stops forwarding for the connections that exist now. Later connections are forwarded. */
  freeze(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #forward(client: Socket): void {
    const target = connect(Number(this.#target.port), this.#target.hostname);
    for (const [socket, peer] of [
      [client, target],
      [target, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        // A frozen socket is paused. Its peer must not learn that it was closed.
        if (!socket.isPaused()) peer.destroy();
      });
      socket.pipe(peer);
    }
  }
}
