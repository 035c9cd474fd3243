/** Numbers as people read them. */

/** @param {number} rate  tokens a second */
export function rateText(rate) {
  return `${rate >= 100 ? Math.round(rate) : rate.toPrecision(3)} tokens/s`;
}

/** @param {number} count */
export function countText(count) {
  if (count < 10_000) return String(count);
  if (count < 999_500) return `${Math.round(count / 1000)}k`;
  const [size, unit] = count < 999.5e6 ? [1e6, "M"] : [1e9, "B"];
  return `${count >= 99.5 * size ? Math.round(count / size) : (count / size).toPrecision(2)}${unit}`;
}

const DAY_MS = 86_400_000;

/** Under which heading a conversation of this time stands. @param {number} time @param {number} now */
export function dayText(time, now = Date.now()) {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY_MS) return "Yesterday";
  if (time >= midnight - 7 * DAY_MS) return "Last 7 days";
  if (time >= midnight - 30 * DAY_MS) return "Last 30 days";
  return new Date(time).toLocaleDateString(undefined, { year: "numeric", month: "long" });
}
