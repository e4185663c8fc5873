import { setTimeout as delay } from 'node:timers/promises';
import { Device, HpkeCrypto, type Incoming, login, register } from '../client/index.ts';
import type { LocalSystem } from '../services/local/local-system.ts';
import { openLook } from './broker-view.ts';
import { tellPayment } from './payment.ts';
import { aside, chapter, check, line } from './terminal.ts';

const text = ({ plaintext, error }: Incoming): string =>
  plaintext ? new TextDecoder().decode(plaintext) : `(${error?.code ?? 'opaque'})`;

/** Everything that a device was handed, and a way to wait for it. */
function inboxOf(device: Device): { texts: string[]; until(n: number): Promise<void> } {
  const texts: string[] = [];
  device.on('message', (incoming) => {
    texts.push(text(incoming));
  });
  const until = async (n: number): Promise<void> => {
    while (texts.length < n) await device.next('message');
  };
  return { texts, until };
}

/** @param tag makes names and texts unlike any others, so that searching for them means something. */
export async function tell({ addresses, config }: LocalSystem, tag: string): Promise<void> {
  const [api, edge] = [addresses.api!, addresses.edge!];
  const look = await openLook(config);
  const devices: Device[] = [];
  try {
    chapter('Anna and Ben register; Anna has a second device');
    const password = `${tag}-correct-horse`;
    const keys = await Promise.all([HpkeCrypto.generate(), HpkeCrypto.generate(), HpkeCrypto.generate()]);
    const identity = async (i: number) => ({ identity_key: await keys[i]!.identityKey() });
    const [annaPhone, ben] = await Promise.all([
      register({ api, username: `anna_${tag}`, password, device: { name: 'phone' }, keys: await identity(0) }),
      register({ api, username: `ben_${tag}`, password, device: { name: 'laptop' }, keys: await identity(1) }),
    ]);
    const annaTablet = await login({ api, identifier: `anna_${tag}`, password, device: { name: 'tablet' } });
    line(`Anna is number ${annaPhone.user.number}, Ben is ${ben.user.number}: what people share instead of an id`);

    const [phone, laptop, tablet] = [annaPhone, ben, annaTablet].map((session, i) => {
      const device = new Device({ session, edge, crypto: keys[i]! });
      devices.push(device);
      return device;
    }) as [Device, Device, Device];
    const [onPhone, onLaptop, onTablet] = [inboxOf(phone), inboxOf(laptop), inboxOf(tablet)];
    await Promise.all(devices.map((device) => device.connect()));
    check(
      devices.every((device) => device.connected),
      'phone, laptop and tablet are connected, each with a key pair of its own',
    );

    chapter('Sealed messages both ways');
    const secrets = [`lunch at noon? ${tag}`, `make it one o'clock ${tag}`];
    let at = performance.now();
    const first = await phone.send({ to: { number: ben.user.number! }, plaintext: secrets[0]! });
    line(`Anna's phone: "${secrets[0]}"`);
    aside(
      `durable as message ${first.seq} of its conversation after ${(performance.now() - at).toFixed(0)} ms, first look-up of keys included`,
    );
    await Promise.all([onLaptop.until(1), onTablet.until(1)]);
    check(onLaptop.texts[0] === secrets[0], `Ben's laptop opened it, and so did Anna's tablet`);
    at = performance.now();
    await laptop.send({ conversation_id: first.conversation_id, plaintext: secrets[1]! });
    line(`Ben's laptop: "${secrets[1]}"`);
    await Promise.all([onPhone.until(1), onTablet.until(2)]);
    check(onPhone.texts[0] === secrets[1], `on phone and tablet after ${(performance.now() - at).toFixed(0)} ms`);

    chapter('The tablet goes away');
    await tablet.close();
    const missed = [`bring the maps ${tag}`, `and the lamp ${tag}`, `on my way ${tag}`];
    for (const [i, plaintext] of missed.entries()) {
      await (i === 1 ? laptop : phone).send({ conversation_id: first.conversation_id, plaintext });
    }
    let waiting = await look.waiting(tablet.user_id, tablet.id);
    for (const end = Date.now() + 5_000; (waiting?.pending ?? 0) < missed.length && Date.now() < end; await delay(20)) {
      waiting = await look.waiting(tablet.user_id, tablet.id);
    }
    if (!waiting) throw new Error('the tablet has no durable consumer');
    aside(`nats consumer report ${waiting.stream}`);
    line(`${waiting.consumer}   unprocessed ${waiting.pending}`);
    check(waiting.pending >= missed.length, `its durable consumer holds what it misses`);

    chapter('and comes back');
    const back = new Device({ session: annaTablet, edge, crypto: keys[2]! });
    devices.push(back);
    const onBack = inboxOf(back);
    const drained = back.next('empty');
    await back.connect();
    await Promise.all([drained, onBack.until(missed.length)]);
    for (const told of onBack.texts) line(`tablet: "${told}"`);
    check(onBack.texts.join() === missed.join(), 'everything missed, once each, in order; then live again');

    chapter('A payment');
    await tellPayment({ config, asks: phone, pays: laptop, conversation_id: first.conversation_id, tag });

    chapter('What the servers know');
    const { messages } = await back.history(first.conversation_id, { after_seq: 0 });
    check(messages.length === secrets.length + missed.length, `history holds all ${messages.length} messages`);
    const sealed = messages[0]!.payload!;
    aside(`the first one, as sealed for the tablet: ${sealed.slice(0, 56)}…`);
    const [rows, stored] = [await look.rows(sealed), await look.stored(sealed)];
    check(
      rows > 0 && stored > 0,
      `a search for it finds ${rows} row in Postgres and ${stored} messages in the streams`,
    );
    let leaks = 0;
    for (const plaintext of [...secrets, ...missed])
      leaks += (await look.rows(plaintext)) + (await look.stored(plaintext));
    check(leaks === 0, 'a search for any of the five texts finds nothing');

    chapter('Next');
    line('npm start                      the same on lasting data, ports 8080 and 8081');
    line('demo/story.ts           what you have just seen, as code');
    line('docs/client.md                 the library: connect, send, resume, crypto');
    line('docs/operations.md             the nats commands behind the scenes');
  } finally {
    await Promise.allSettled(devices.map((device) => device.close()));
    await look.close();
  }
}
