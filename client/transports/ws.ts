/**
 * The transport over the `ws` package, for Node. It is cheaper where thousands of Devices share a process, and it sees
 * ping frames. Frames that are sent in one turn of the event loop go out in one write.
 */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Transport } from './types.ts';

/** Makes the transport. A Device gets it as `transport`. */
export function wsTransport(): Transport {
  return {
    headers: true,
    open(url, protocols, headers, events) {
      const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
      let status: number | undefined;
      let tcpSocket: Socket | undefined;
      let isCorked = false;
      const uncork = (): void => {
        isCorked = false;
        tcpSocket?.uncork();
      };
      socket.on('upgrade', (response) => {
        tcpSocket = response.socket;
      });
      socket.on('open', () => events.open());
      socket.on('message', (data, binary) => {
        if (!binary) events.message(data.toString());
      });
      socket.on('ping', () => events.alive());
      socket.on('unexpected-response', (request, response) => {
        status = response.statusCode;
        response.resume();
        request.destroy();
        events.close(1006, 'upgrade refused', status);
      });
      socket.on('error', () => {});
      socket.on('close', (code, reason) => {
        if (status === undefined) events.close(code, reason.toString(), 0);
      });
      return {
        send(text) {
          if (!isCorked && tcpSocket) {
            isCorked = true;
            tcpSocket.cork();
            process.nextTick(uncork);
          }
          socket.send(text);
        },
        close: (code) => socket.close(code),
        terminate: () => socket.terminate(),
      };
    },
  };
}
