/** What the server says of itself, asked for again and again while somebody looks. */

import { getJson } from "../js/server.js";
import { signal } from "../js/ui.js";

/**
 * @typedef {object} Sequence
 * @property {number} slot
 * @property {number} place  in the queue; 0 once it started
 * @property {number} prompt_tokens
 * @property {number} cached_tokens
 * @property {number} generated_tokens
 * @property {number} tokens_per_second
 *
 * @typedef {Object<string, (number | null)[]>} History  columns; the first is "time", in seconds since 1970
 */

const PAUSE_MS = 1000;
const LATE_PAUSE_MS = 3000; // when the server was not reached
const GAP_SECONDS = 5; // without rows: the server was away, or nobody looked

/** The latest answer; null before the first. */
export const now = signal(null);
/** The rows of the last minutes. @type {{value: History | null}} */
export const history = signal(null);
/** Why nothing comes; empty while answers come. */
export const problem = signal("");

/** Ask until the returned function is called. */
export function follow() {
  let timer = 0;
  let stopped = false;
  const aborting = new AbortController();
  const look = async () => {
    let pause = PAUSE_MS;
    if (!document.hidden) {
      try {
        const last = history.peek()?.time.at(-1) ?? 0;
        take(await getJson(`/pacos/status?since=${last}`, { signal: aborting.signal }));
        problem.value = "";
      } catch (error) {
        if (error.name === "AbortError") return;
        problem.value = error.message;
        pause = LATE_PAUSE_MS;
      }
    }
    if (!stopped) timer = setTimeout(look, pause);
  };
  look();
  return () => {
    stopped = true;
    clearTimeout(timer);
    aborting.abort();
  };
}

function take(found) {
  history.value = joined(history.peek(), found.history, found.history_seconds);
  now.value = found;
}

/** Older rows and newer ones, no more than of so many seconds; a row of nulls where the lines must not be drawn on. */
export function joined(older, newer, seconds) {
  const first = newer.time[0];
  const last = older?.time.at(-1);
  const gap = last !== undefined && first - last > GAP_SECONDS;
  const end = newer.time.at(-1) ?? last ?? 0;
  const all = {};
  for (const [name, column] of Object.entries(newer)) {
    const between = gap ? [name === "time" ? last + 1 : null] : [];
    all[name] = [...(older?.[name] ?? []), ...between, ...column];
  }
  const start = all.time.findIndex((time) => time > end - seconds);
  return Object.fromEntries(Object.entries(all).map(([name, column]) => [name, start > 0 ? column.slice(start) : column]));
}
