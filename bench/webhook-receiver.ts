/**
 * Receives the webhooks of the workload webhook-delivery, as a process of its own: one server on many loopback addresses.
 * The path decides how it behaves: `/ok` answers at once, `/slow` after SLOW_MS, `/hang` never. It counts the deliveries at
 * `/ok` and how old each was by its own timestamp.
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

const SLOW_MS = 5_000;
let ages: number[] = [];

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const path = request.url!;
    if (path.startsWith('/hang')) return;
    if (path.startsWith('/slow')) return void setTimeout(() => response.writeHead(200).end(), SLOW_MS);
    const { timestamp } = JSON.parse(Buffer.concat(chunks).toString()) as { timestamp: string };
    ages.push(Date.now() - Date.parse(timestamp));
    response.writeHead(200).end();
  });
});
server.listen(0, '0.0.0.0', 4096, () => process.send!({ port: (server.address() as AddressInfo).port }));
server.keepAliveTimeout = 60_000;
process.on('message', (request) => {
  if (request === 'count') process.send!({ count: ages.length });
  if (request !== 'take') return;
  process.send!({ ages });
  ages = [];
});
process.on('disconnect', () => process.exit(0));
