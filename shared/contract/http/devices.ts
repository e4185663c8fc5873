/** Devices: bodies, replies and routes. */
import Type, { type Static } from 'typebox';
import { Device, PublicDevice } from '../objects.ts';
import { Id } from '../scalars.ts';
import { listOf, page, type Route, strict } from './route.ts';

export const DeviceName = Type.String({ minLength: 1, maxLength: 128 });
export const Platform = Type.String({ minLength: 1, maxLength: 32 });
export const PatchDeviceBody = Type.Object(
  {
    name: Type.Optional(DeviceName),
    platform: Type.Optional(Platform),
  },
  { ...strict, minProperties: 1 },
);
export type PatchDeviceBody = Static<typeof PatchDeviceBody>;
/** A device of mine. */
export const MyDevice = Type.Object({
  ...Device.properties,
  /** It is the one that asks. */
  current: Type.Boolean(),
  push_provider: Type.Optional(Type.String()),
});
export type MyDevice = Static<typeof MyDevice>;

export const DEVICE_ROUTES = {
  'devices.listOfUser': {
    method: 'GET',
    path: '/v1/users/{id}/devices',
    about: 'The devices of a person with their keys; name, platform and times of my own only.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Type.Union([Device, PublicDevice])) },
  },
  'devices.list': {
    method: 'GET',
    path: '/v1/devices',
    about: 'My devices.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(MyDevice) },
  },
  'devices.update': {
    method: 'PATCH',
    path: '/v1/devices/{id}',
    about: 'Name, platform or push target of a device of mine.',
    auth: 'device',
    body: PatchDeviceBody,
    reply: { 200: MyDevice },
  },
  'devices.delete': {
    method: 'DELETE',
    path: '/v1/devices/{id}',
    about:
      'Takes a device of mine away, with its sessions, keys, push target and queue. After this answer nothing reaches it.',
    auth: 'device',
    reply: { 200: Type.Object({ id: Id }) },
  },
} as const satisfies Record<string, Route>;
