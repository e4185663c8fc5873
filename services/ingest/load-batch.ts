/** Looks up what the commands of a batch need and memory does not hold, with one query of each kind. */
import type { Incoming } from '../../shared/pipeline/commands.ts';
import { isTransient } from '../../shared/transient.ts';
import type { LoadedBatch } from './commands/context.ts';
import type { FollowUps, Lookups } from './commands/definition.ts';
import { definitionOf } from './commands/table.ts';
import type { PartitionState } from './partition-state.ts';
import type { PersonCache } from './person-cache.ts';
import type { Accepted, Store } from './store.ts';

const NONE: ReadonlyMap<string, Accepted> = new Map();

/** When Postgres does not answer, the batch is decided with what memory holds, and the result says `isIncomplete`. */
export async function loadBatch(
  store: Store,
  people: PersonCache,
  state: PartitionState,
  work: readonly [command: Incoming, reply: string][],
): Promise<LoadedBatch> {
  const conversations = new Set<string>();
  const lookups: Lookups = { users: new Set(), payments: [] };
  const { users, payments } = lookups;
  for (const [{ command }] of work) {
    conversations.add(command.conversation_id);
    definitionOf(command).collectLookups(command, lookups);
  }
  let isIncomplete = false;
  /** Resolves with undefined when Postgres does not answer. */
  const answerOf = async <T>(lookup: Promise<T>): Promise<T | undefined> => {
    try {
      return await lookup;
    } catch (error) {
      if (!isTransient(error)) throw error;
      isIncomplete = true;
      return undefined;
    }
  };
  const loadPeople = async () => (await answerOf(people.load(store, users))) ?? people.known(users);
  const [loaded] = await Promise.all([
    loadPeople(),
    answerOf(state.loadConversations(store, conversations)),
    payments.length && answerOf(state.loadPayments(store, payments)),
  ]);
  const followUps: FollowUps = { users, doubtful: new Map() };
  for (const [{ command }] of work) definitionOf(command).collectFollowUps(command, state, loaded, followUps);
  const { doubtful } = followUps;
  const accepted = doubtful.size ? await answerOf(store.accepted([...doubtful.values()])) : NONE;
  const undecided = new Set(accepted ? [] : doubtful.keys());
  // Last, so that the devices are as they are now.
  return { people: await loadPeople(), accepted: accepted ?? NONE, undecided, isIncomplete };
}
