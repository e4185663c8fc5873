/** Makes registration ids of devices. Another id than before tells senders that the device's key material is new. */
import { randomInt } from 'node:crypto';

/** A registration id has 31 bits; 0 is never given. */
const REGISTRATION_IDS = 0x80000000;
export const newRegistrationId = (): number => randomInt(1, REGISTRATION_IDS);
