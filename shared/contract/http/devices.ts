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
/** A device as its owner sees it. */
export const MyDevice = Type.Object({
  ...Device.properties,
  /** This device sent the request. */
  current: Type.Boolean(),
  push_provider: Type.Optional(Type.String()),
});
export type MyDevice = Static<typeof MyDevice>;

export const DEVICE_ROUTES = {
  'devices.listOfUser': {
    method: 'GET',
    path: '/v1/users/{id}/devices',
    about: 'Lists the devices of a person with their keys; name, platform and times of my own only.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(Type.Union([Device, PublicDevice])) },
  },
  'devices.list': {
    method: 'GET',
    path: '/v1/devices',
    about: 'Lists my devices.',
    auth: 'device',
    query: Type.Object(page, strict),
    reply: { 200: listOf(MyDevice) },
  },
  'devices.update': {
    method: 'PATCH',
    path: '/v1/devices/{id}',
    about: 'Changes name or platform of a device of mine.',
    auth: 'device',
    body: PatchDeviceBody,
    reply: { 200: MyDevice },
  },
  'devices.delete': {
    method: 'DELETE',
    path: '/v1/devices/{id}',
    about:
      'Deletes a device of mine with its sessions, keys, push target and queue. After this answer nothing is delivered to it.',
    auth: 'device',
    reply: { 200: Type.Object({ id: Id }) },
  },
} as const satisfies Record<string, Route>;
