/**
 * The ceiling of inbound payments: an HTTP server, as a process of its own, that inserts each event and verifies nothing.
 * `payment-inserts.ts <database url>`
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import pg from 'pg';

const pool = new pg.Pool({ connectionString: process.argv[2]!, max: 8 });
await pool.query('create table if not exists bench_events (id text primary key, body text not null)');
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const body = Buffer.concat(chunks).toString();
    const { id } = JSON.parse(body) as { id: string };
    pool.query('insert into bench_events values ($1, $2) on conflict do nothing', [id, body]).then(
      () => response.writeHead(202).end('{"data":{"received":true}}'),
      () => response.writeHead(503).end(),
    );
  });
});
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as AddressInfo).port }));
process.on('disconnect', () => process.exit(0));
