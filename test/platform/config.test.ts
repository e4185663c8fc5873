/** Settings under their former names, and the tables that the page is made from. */
import test from 'ava';
import { readConfig, SETTING_GROUPS, SETTINGS } from '../../shared/config/index.ts';
import type { Setting } from '../../shared/config/kinds.ts';

const renamed = Object.entries(SETTINGS as Record<string, Setting<unknown>>).filter(([, one]) => one.formerName);

test('[O01] a setting is read by its former name, and the new name wins', (t) => {
  t.true(renamed.length > 0);
  for (const [name, { formerName }] of renamed) {
    const read = (env: Record<string, string>): unknown => readConfig(env)[name as keyof typeof SETTINGS];
    const value = (text: string): unknown => read({ [name]: text });
    t.deepEqual(read({ [formerName!]: '7' }), value('7'), formerName);
    t.deepEqual(read({ [formerName!]: '7', [name]: '8' }), value('8'), name);
    t.deepEqual(read({ [formerName!]: '7', [name]: '' }), value('7'), 'an empty variable counts as not set');
    t.notDeepEqual(value('7'), value('8'));
  }
});

test('[O01] the error about a value names the variable that the operator set', (t) => {
  for (const [name, { formerName }] of renamed) {
    t.throws(() => readConfig({ [formerName!]: 'soon' }), { message: new RegExp(`^${formerName} must be `) });
    t.throws(() => readConfig({ [name]: 'soon' }), { message: new RegExp(`^${name} must be `) });
    t.throws(() => readConfig({ [name]: 'soon', [formerName!]: '7' }), { message: new RegExp(`^${name} must be `) });
  }
});

test('[O01] every setting is in one section of the page, and no former name is a name', (t) => {
  const names = Object.values(SETTING_GROUPS).flatMap((group) => Object.keys(group));
  t.deepEqual([...names].sort(), Object.keys(SETTINGS).sort());
  for (const [, { formerName }] of renamed) t.false(names.includes(formerName!));
  const seconds = names.filter((name) => /_(SECONDS|SECS|MILLISECONDS|MINS|HRS)$/.test(name));
  t.deepEqual(seconds, [], 'units are _MS _SEC _MINUTES _HOURS _DAYS _BYTES');
});
