/** Routes of devices and their keys; part of the table in routes.ts. */
import Type from 'typebox';
import { Device, PublicDevice } from '../objects.ts';
import { Id } from '../scalars.ts';
import {
  Backup,
  BackupBody,
  BackupVersion,
  ClaimBody,
  Claimed,
  KeyLogLink,
  KeyStock,
  Keys,
  MyDevice,
  PatchDeviceBody,
  PrekeysBody,
} from './keys.ts';
import { listOf, page, type Route, strict } from './route.ts';

export const KEY_ROUTES = {
  devices: {
    method: 'GET',
    path: '/v1/users/{id}/devices',
    about: 'The devices of a person with their keys; name, platform and times of my own only.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Type.Union([Device, PublicDevice])) },
  },
  myDevices: {
    method: 'GET',
    path: '/v1/devices',
    about: 'My devices.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(MyDevice) },
  },
  patchDevice: {
    method: 'PATCH',
    path: '/v1/devices/{id}',
    about: 'Name, platform or push target of a device of mine.',
    auth: 'device',
    body: PatchDeviceBody,
    reply: { 200: MyDevice },
  },
  deleteDevice: {
    method: 'DELETE',
    path: '/v1/devices/{id}',
    about:
      'Takes a device of mine away, with its sessions, keys, push target and queue. After this answer nothing reaches it.',
    auth: 'device',
    reply: { 200: Type.Object({ id: Id }) },
  },
  putKeys: {
    method: 'PUT',
    path: '/v1/devices/me/keys',
    about: 'Publish or replace the identity key of this device. Another identity key takes back its prekeys.',
    auth: 'device',
    body: Keys,
    reply: { 200: Device },
  },
  prekeys: {
    method: 'POST',
    path: '/v1/keys/prekeys',
    about:
      'Adds one-time keys of this device, replaces its signed and last-resort key. The same call again adds nothing.',
    auth: 'device',
    body: PrekeysBody,
    large: true,
    reply: { 200: KeyStock },
  },
  keyCount: {
    method: 'GET',
    path: '/v1/keys/count',
    about: 'How many keys of this device others can still be given.',
    auth: 'device',
    reply: { 200: KeyStock },
  },
  claimKeys: {
    method: 'POST',
    path: '/v1/users/{id}/keys/claim',
    about: 'A one-time key of each device of a person (but the asking one), the oldest first, each given out once.',
    auth: 'device',
    body: ClaimBody,
    reply: { 200: Claimed },
  },
  keyLog: {
    method: 'GET',
    path: '/v1/users/{id}/key_log',
    about: 'Every change of a person’s devices and their keys, oldest first, hash-chained.',
    auth: 'device',
    query: Type.Object({ ...page, after: Type.Optional(Type.Integer({ minimum: 0, maximum: 1e9 })) }, strict),
    reply: { 200: listOf(KeyLogLink) },
  },
  putBackup: {
    method: 'PUT',
    path: '/v1/keys/backup',
    about: 'Stores or replaces my encrypted backup.',
    auth: 'device',
    body: BackupBody,
    large: true,
    reply: { 200: BackupVersion },
  },
  getBackup: {
    method: 'GET',
    path: '/v1/keys/backup',
    about: 'My encrypted backup.',
    auth: 'device',
    reply: { 200: Backup },
  },
  deleteBackup: {
    method: 'DELETE',
    path: '/v1/keys/backup',
    about: 'Removes my encrypted backup.',
    auth: 'device',
    reply: { 200: Type.Object({ version: Type.Integer() }) },
  },
} as const satisfies Record<string, Route>;
