/** Holds the frames of the socket against PROTOCOL_VERSION: no frame changes without a decision about the version. */
import { createHash } from 'node:crypto';
import test from 'ava';
import { CLIENT_FRAME_SCHEMAS } from '../../shared/contract/frames/client.ts';
import { SERVER_FRAMES } from '../../shared/contract/frames/server.ts';
import { CLOSE, PROTOCOL_VERSION, SUBPROTOCOL } from '../../shared/contract/protocol.ts';

/** The frames of this version, as a hash over their schemas. */
const FRAMES_OF = { version: '1', hash: 'e1660aba8d98cc11' };

/** The schemas in one order and without descriptions: neither means anything to a client. */
function canonical(value: unknown): unknown {
  if (Array.isArray(value)) {
    const items = value.map(canonical);
    return items.every((item) => typeof item === 'string') ? items.sort() : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key]) => key !== 'description')
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, canonical(inner)]),
  );
}

test('the schemas of all frames match PROTOCOL_VERSION', (t) => {
  const protocol = { SUBPROTOCOL, CLOSE, client: CLIENT_FRAME_SCHEMAS, server: SERVER_FRAMES };
  const hash = createHash('sha256')
    .update(JSON.stringify(canonical(protocol)))
    .digest('hex')
    .slice(0, 16);
  t.deepEqual(
    { version: PROTOCOL_VERSION, hash },
    FRAMES_OF,
    `A frame, a close code or the version has changed. Can clients of version ${FRAMES_OF.version} still read every frame that ` +
      'the server sends, and does the server still accept every frame that they send? Then renew the hash in this test. ' +
      'Otherwise raise PROTOCOL_VERSION in shared/contract/protocol.ts, and renew version and hash.',
  );
});
