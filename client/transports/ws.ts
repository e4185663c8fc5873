/**
 * The `ws` package: for Node, where thousands of Devices share a process, and where ping frames are to be seen.
 * What is sent in one turn of the event loop leaves in one write.
 */
import type { Socket } from 'node:net';
import { WebSocket } from 'ws';
import type { Transport } from './types.ts';

export function wsTransport(): Transport {
  return {
    headers: true,
    open(url, protocols, headers, events) {
      const socket = new WebSocket(url, protocols, { headers, perMessageDeflate: false });
      let status: number | undefined;
      let raw: Socket | undefined;
      let corked = false;
      const uncork = (): void => {
        corked = false;
        raw?.uncork();
      };
      socket.on('upgrade', (response) => {
        raw = response.socket;
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
          if (!corked && raw) {
            corked = true;
            raw.cork();
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
