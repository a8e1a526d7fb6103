import { formatAge } from "./time.js";

/**
 * Group consecutive events that have the same amount, reason and age.
 *
 * If there are more events than these, the last group is `isOpen`: it may continue.
 */
export function groupEvents(events, hasMore) {
  const groups = [];
  for (const { by, reason, recorded_at: time } of events) {
    const age = formatAge(time);
    const last = groups.at(-1);
    if (last?.by === by && last.reason === reason && last.age === age) {
      last.count++;
      last.first = time;
    } else {
      groups.push({ by, reason, age, count: 1, first: time, latest: time });
    }
  }
  if (groups.length) groups.at(-1).isOpen = hasMore;
  return groups;
}
