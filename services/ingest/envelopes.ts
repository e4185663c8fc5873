/** Checks that a message sealed for each device has an envelope for exactly the right devices (K05). */
import { ApiError } from '../../shared/contract/errors.ts';
import { type SendCommand, unpackEnvelopes } from '../../shared/pipeline/commands.ts';
import type { MessageRecord } from '../../shared/pipeline/entry.ts';
import type { FindPerson } from './conversation.ts';
import { refuse } from './refusals.ts';
import type { Conversation, Person } from './store.ts';

/**
 * Every device that has published a key needs an envelope, except the sending one; other devices may have one.
 * @returns the owner of each device
 * @throws {ApiError} `device_mismatch` or, when nothing but registration ids differ, `device_stale`; `details` is the
 * exact difference, `{missing, extra, stale}` as device ids, and `user_ids` whose devices the sender has to fetch again
 */
export function checkDevices(
  envelopes: NonNullable<SendCommand['envelopes']>,
  people: [user: string, person: Person | undefined][],
  sender: { user_id: string; device_id: string },
): Map<string, string> {
  const given = new Map(envelopes.map((one) => [one.device_id, one]));
  const owners = new Map<string, string>();
  const missing: string[] = [];
  const stale: string[] = [];
  const users = new Set<string>();
  for (const [user, person] of people) {
    for (const { id, registration_id, keyed } of person?.devices ?? []) {
      const envelope = given.get(id);
      if (envelope) {
        owners.set(id, user);
        if (envelope.registration_id === undefined || envelope.registration_id === registration_id) continue;
        stale.push(id);
      } else if (keyed && id !== sender.device_id) missing.push(id);
      else continue;
      users.add(user);
    }
  }
  const extra = owners.size < given.size ? [...given.keys()].filter((id) => !owners.has(id)) : [];
  if (missing.length || extra.length)
    throw new ApiError(
      'device_mismatch',
      'envelopes do not match the devices of this conversation: fetch the devices of user_ids and seal again',
      {
        details: { missing, extra, stale, user_ids: [...users] },
      },
    );
  if (stale.length)
    throw new ApiError('device_stale', 'some devices have new keys: fetch the devices of user_ids and seal again', {
      details: { missing, extra, stale, user_ids: [...users] },
    });
  return owners;
}

/**
 * Finds the user whose device each envelope of a message is for.
 * @throws {ApiError} as `checkDevices`, and `invalid_request` when there is not one payload for each envelope
 */
export function addressEnvelopes(
  { user_id, device_id: sender, envelopes }: SendCommand,
  { members }: Conversation,
  findPerson: FindPerson,
  body: Uint8Array,
): NonNullable<MessageRecord['envelopes']> {
  const people = [...members.keys()].map((user): [string, Person | undefined] => [user, findPerson(user)]);
  const owners = checkDevices(envelopes!, people, { user_id, device_id: sender });
  if (unpackEnvelopes(body).length !== envelopes!.length)
    refuse('invalid_request', 'envelopes must have one payload for each device');
  return envelopes!.map(({ device_id }) => ({ device_id, user_id: owners.get(device_id)! }));
}
