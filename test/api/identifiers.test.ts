/** In which one form people's names are stored and compared, and what is no name. */
import test from 'ava';
import fc from 'fast-check';
import {
  type IdentifierKind,
  normaliseIdentifier,
  recogniseIdentifier,
} from '../../services/api/accounts/identifiers.ts';
import { type Env, startEnv } from '../env/index.ts';
import { PASSWORD } from '../env/people.ts';
import { Api, QUICK_HASHING } from './http.ts';

let env: Env;
let api: Api;
test.before(async () => {
  env = await startEnv(QUICK_HASHING);
  api = new Api((await env.start('api')).apiUrl);
});
test.after.always(() => env.stop());

const password = PASSWORD;
const device = { name: 'phone' };

test('[A01] identifiers are stored in one normal form, and ambiguous or deceptive ones are refused', async (t) => {
  const one: [kind: IdentifierKind, text: string, is: string][] = [
    ['email', ' Anna.Ö+tag@EXAMPLE.org ', 'anna.ö+tag@example.org'],
    ['email', '\u212aate@ex\u00adample.org', 'kate@example.org'],
    ['email', 'anna@bücher.example', 'anna@xn--bcher-kva.example'],
    ['email', 'a\u0308@example\u3002org', 'ä@example.org'],
    ['phone', '+1 (555) 010-0123', '+15550100123'],
    ['phone', '+\u0661\uff15\uff15\uff15\u0660100123', '+15550100123'],
    ['phone', '+1555\u200b0100123', '+15550100123'],
    ['username', '\uff21nn\u212a', 'annk'],
  ];
  for (const [kind, text, is] of one) {
    t.is(normaliseIdentifier(kind, text), is);
    t.is(normaliseIdentifier(kind, is), is);
    t.deepEqual(recogniseIdentifier(text), { kind, value: is });
  }
  const none: [kind: IdentifierKind, ...texts: string[]][] = [
    // Nothing to see, text that runs backwards, bytes that steer, private and unassigned characters, a space.
    [
      'email',
      ...['\u200b', '\u202e', '\u00ad', '\ufe0f', '\x07', '\x7f', '\r\n', '\ue000', '\u0378', ' '].map(
        (c) => `an${c}na@x.org`,
      ),
    ],
    // Other syntax: quoting, lists, comments, routes.
    [
      'email',
      ...['"a"', 'a,b', 'a;b', 'a(b)', 'a:b', '[a]', '<a>', 'a\\b', 'a..b', '.a', 'a.'].map(
        (local) => `${local}@x.org`,
      ),
    ],
    [
      'email',
      ...[
        'x.org/p',
        'x.org?q',
        'x.org#f',
        'x.org:25',
        'x%2eorg',
        '1.2.3.4',
        '0x7f.1',
        '[::1]',
        '-x.org',
        'x_y.org',
        'x.org.',
        'x',
      ].map((host) => `a@${host}`),
    ],
    ['email', `${'a'.repeat(65)}@x.org`, `a@${'x'.repeat(64)}.org`, `a@${'ü.'.repeat(60)}org`],
    ['phone', '+15550100123x5', '+1', '15550100123', 'tel:+15550100123'],
    // Cyrillic а, a hidden hyphen, a composed letter.
    ['username', '\u0430nna', 'an\u00adna', 'a\u0301nna', '12345678', 'a@b'],
  ];
  for (const [kind, ...texts] of none)
    for (const text of texts) {
      const { error } = await api.ask('auth.register', { body: { [kind]: text, password, device } });
      t.is(error?.code, 'invalid_request', JSON.stringify(text));
      t.deepEqual(error?.details, { field: kind });
    }
  // Whatever comes out goes in again as it is: what is stored is what is looked for.
  fc.assert(
    fc.property(
      fc.constantFrom<IdentifierKind>('phone', 'email', 'username'),
      fc.string({ unit: 'binary' }),
      (kind, odd) => {
        const text = { phone: `+1555010012${odd}`, email: `a${odd}@x${odd}.org`, username: `ab${odd}` }[kind];
        const named = recogniseIdentifier(text);
        if (named) t.deepEqual(recogniseIdentifier(named.value), named);
      },
    ),
    { numRuns: 5_000 },
  );
});
