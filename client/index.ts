/** Exports the client library: one device of a person, for browsers and Node ≥ 22. See docs/client.md. */
export {
  type AccountSession,
  changePassword,
  deleteAccount,
  endOtherSessions,
  endSession,
  listSessions,
  login,
  loginByCode,
  logout,
  logoutEverywhere,
  register,
  requestCode,
  verify,
} from './accounts.ts';
export { Ed25519Signer, type Signer, verifySignature } from './crypto/ed25519.ts';
export { HpkeCrypto, type HpkeKeys, type HpkeOptions } from './crypto/hpke.ts';
export type { Crypto, OpenRequest, Prekeys, Recipient, Sealed, SealRequest } from './crypto/types.ts';
export { Device } from './device.ts';
export { deleteBackup, deleteDevice, getBackup, listDevices, putBackup, updateDevice } from './devices.ts';
export { type ClientErrorCode, SealwireError } from './errors.ts';
export type { DeviceEvents, Incoming } from './events.ts';
export { type KeyChange, KeyLog, type KeyLogData } from './key-log.ts';
export type { DeviceOptions, HistoryOptions, SendOptions } from './options.ts';
export type { Sent } from './outbox.ts';
export { Session, type SessionData } from './session.ts';
export { DEVICE_SETTINGS, type DeviceSettings } from './settings.ts';
export { type InboxData, MemoryStore, type Store } from './store.ts';
export type { Transport } from './transports/types.ts';
export { webTransport } from './transports/web.ts';
