/** Plays the demo: Anna with two devices and Ben with one exchange sealed messages; one device goes offline and returns. */

import { Device, HpkeCrypto, type Incoming, login, register, type Session } from '../client/index.ts';
import type { LocalSystem } from '../services/local/local-system.ts';
import { sleep } from '../shared/async/sleep.ts';
import { type BrokerView, openBrokerView } from './broker-view.ts';
import { showPayment } from './payment.ts';
import { check, printAside, printChapter, printLine } from './terminal.ts';

/** The demo waits at most this long until the broker holds what an offline device misses. */
const OFFLINE_QUEUE_TIMEOUT_MS = 5_000;

interface Listener {
  device: Device;
  /** The text of every message that the device has received. */
  texts: string[];
  waitForTexts(count: number): Promise<void>;
}

function listen(device: Device): Listener {
  const texts: string[] = [];
  const textOf = ({ plaintext, error }: Incoming): string =>
    plaintext ? new TextDecoder().decode(plaintext) : `(${error?.code ?? 'opaque'})`;
  device.on('message', (incoming) => {
    texts.push(textOf(incoming));
  });
  const waitForTexts = async (count: number): Promise<void> => {
    while (texts.length < count) await device.next('message');
  };
  return { device, texts, waitForTexts };
}

interface Cast {
  phone: Listener;
  laptop: Listener;
  tablet: Listener;
  /** Makes one more Device for the tablet's session, as if its application was started again. */
  restartTablet(): Listener;
  benNumber: string;
}

/**
 * Plays all chapters.
 * @param tag makes names and texts unique, so that a search for them finds only those of this run
 * @throws when a statement of the demo does not hold
 */
export async function playStory({ addresses, config }: LocalSystem, tag: string): Promise<void> {
  const brokerView = await openBrokerView(config);
  const devices: Device[] = [];
  try {
    const cast = await connectDevices(addresses.api!, addresses.edge!, tag, devices);
    const secrets = [`lunch at noon? ${tag}`, `make it one o'clock ${tag}`];
    const conversation_id = await exchangeMessages(cast, secrets);
    const missed = [`bring the maps ${tag}`, `and the lamp ${tag}`, `on my way ${tag}`];
    await sendWhileTabletIsOffline(cast, conversation_id, missed, brokerView);
    const restartedTablet = await reconnectTablet(cast, missed);

    printChapter('A payment');
    const [requester, payer] = [cast.phone.device, cast.laptop.device];
    await showPayment({ config, requester, payer, conversation_id, tag });

    await searchServers(restartedTablet, conversation_id, [...secrets, ...missed], brokerView);

    printChapter('Next');
    printLine('npm start                      the same system with lasting data, on ports 8080 and 8081');
    printLine('demo/story.ts                  the code of this demo');
    printLine('docs/client.md                 the client library: connect, send, resume, crypto');
    printLine('docs/operations.md             the nats commands that show the same');
  } finally {
    await Promise.allSettled(devices.map((device) => device.close()));
    await brokerView.close();
  }
}

async function connectDevices(api: string, edge: string, tag: string, devices: Device[]): Promise<Cast> {
  printChapter('Anna and Ben register; Anna has a second device');
  const password = `${tag}-correct-horse`;
  const keys = await Promise.all([HpkeCrypto.generate(), HpkeCrypto.generate(), HpkeCrypto.generate()]);
  const identityOf = async (i: number) => ({ identity_key: await keys[i]!.identityKey() });
  const [anna, ben] = await Promise.all([
    register({ api, username: `anna_${tag}`, password, device: { name: 'phone' }, keys: await identityOf(0) }),
    register({ api, username: `ben_${tag}`, password, device: { name: 'laptop' }, keys: await identityOf(1) }),
  ]);
  const annaTablet = await login({ api, identifier: `anna_${tag}`, password, device: { name: 'tablet' } });
  printLine(`Anna has number ${anna.user.number}, Ben ${ben.user.number}: people share numbers instead of ids`);

  const createListener = (session: Session, i: number): Listener => {
    const device = new Device({ session, edge, crypto: keys[i]! });
    devices.push(device);
    return listen(device);
  };
  const [phone, laptop, tablet] = [anna, ben, annaTablet].map(createListener) as [Listener, Listener, Listener];
  await Promise.all(devices.map((device) => device.connect()));
  check(
    devices.every((device) => device.connected),
    'phone, laptop and tablet are connected, each with its own key pair',
  );
  const restartTablet = (): Listener => createListener(annaTablet, 2);
  return { phone, laptop, tablet, restartTablet, benNumber: ben.user.number! };
}

/** @returns the id of the conversation */
async function exchangeMessages({ phone, laptop, tablet, benNumber }: Cast, secrets: string[]): Promise<string> {
  printChapter('Sealed messages in both directions');
  let startedAt = performance.now();
  const elapsedMs = (): string => (performance.now() - startedAt).toFixed(0);
  const first = await phone.device.send({ to: { number: benNumber }, plaintext: secrets[0]! });
  printLine(`Anna's phone sends: "${secrets[0]}"`);
  printAside(
    `durable as message ${first.seq} of its conversation after ${elapsedMs()} ms, with the first fetch of keys`,
  );
  await Promise.all([laptop.waitForTexts(1), tablet.waitForTexts(1)]);
  check(laptop.texts[0] === secrets[0], `Ben's laptop and Anna's tablet have opened it`);
  startedAt = performance.now();
  await laptop.device.send({ conversation_id: first.conversation_id, plaintext: secrets[1]! });
  printLine(`Ben's laptop sends: "${secrets[1]}"`);
  await Promise.all([phone.waitForTexts(1), tablet.waitForTexts(2)]);
  check(phone.texts[0] === secrets[1], `it was on phone and tablet after ${elapsedMs()} ms`);
  return first.conversation_id;
}

async function sendWhileTabletIsOffline(
  { phone, laptop, tablet }: Cast,
  conversation_id: string,
  texts: string[],
  brokerView: BrokerView,
): Promise<void> {
  printChapter('The tablet goes offline');
  await tablet.device.close();
  for (const [i, plaintext] of texts.entries())
    await (i === 1 ? laptop : phone).device.send({ conversation_id, plaintext });
  const fetchQueue = () => brokerView.offlineQueueOf(tablet.device.user_id, tablet.device.id);
  let queue = await fetchQueue();
  const deadline = Date.now() + OFFLINE_QUEUE_TIMEOUT_MS;
  while ((queue?.pending ?? 0) < texts.length && Date.now() < deadline) {
    await sleep(20);
    queue = await fetchQueue();
  }
  if (!queue) throw new Error('the tablet has no durable consumer');
  printAside(`nats consumer report ${queue.stream}`);
  printLine(`${queue.consumer}   unprocessed ${queue.pending}`);
  check(queue.pending >= texts.length, 'its durable consumer holds the messages that it misses');
}

async function reconnectTablet({ restartTablet }: Cast, missed: string[]): Promise<Device> {
  printChapter('The tablet comes back');
  const tablet = restartTablet();
  const drained = tablet.device.next('empty');
  await tablet.device.connect();
  await Promise.all([drained, tablet.waitForTexts(missed.length)]);
  for (const text of tablet.texts) printLine(`tablet receives: "${text}"`);
  check(tablet.texts.join() === missed.join(), 'it has everything it missed, once and in order, and is live again');
  return tablet.device;
}

async function searchServers(
  tablet: Device,
  conversation_id: string,
  texts: string[],
  brokerView: BrokerView,
): Promise<void> {
  printChapter('The servers hold only ciphertext');
  const { messages } = await tablet.history(conversation_id, { after_seq: 0 });
  check(messages.length === texts.length, `history holds all ${messages.length} messages`);
  const sealed = messages[0]!.payload!;
  printAside(`the first message, as sealed for the tablet: ${sealed.slice(0, 56)}…`);
  const [rows, stored] = [await brokerView.countRowsWith(sealed), await brokerView.countStreamMessagesWith(sealed)];
  check(rows > 0 && stored > 0, `a search for it finds ${rows} row in Postgres and ${stored} messages in the streams`);
  let found = 0;
  for (const text of texts)
    found += (await brokerView.countRowsWith(text)) + (await brokerView.countStreamMessagesWith(text));
  check(found === 0, 'a search for any of the five plaintexts finds nothing');
}
