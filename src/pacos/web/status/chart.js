/** A chart of the last minutes: lines over time, with what they say now, or where the pointer is. */

import { html, signal, useEffect, useRef, useState } from "../js/ui.js";
import uPlot from "../vendor/uplot-1.6.32/uPlot.esm.js";

const HEIGHT = 150;
const HEADROOM = 1.15;

/** Which colours are used; drawn charts must be drawn anew when it changes. */
const theme = signal(document.documentElement.dataset.theme);
new MutationObserver(() => (theme.value = document.documentElement.dataset.theme)).observe(document.documentElement, {
  attributeFilter: ["data-theme"],
});

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/**
 * @param {object} props
 * @param {string} props.title
 * @param {{name: string, values: (number | null)[], colour: string, fill?: boolean, points?: boolean}[]} props.lines
 * @param {number[]} props.times  seconds since 1970
 * @param {number} props.seconds  that the chart spans
 * @param {(value: number) => string} props.text  a value as people read it
 * @param {number} [props.least]  that the axis reaches up to
 */
export function Chart({ title, lines, times, seconds, text, least = 1 }) {
  const root = useRef(null);
  const plot = useRef(null);
  const [at, setAt] = useState(null);
  const drawn = theme.value;
  useEffect(() => {
    const frame = root.current; // the reference is empty before the observer is told to stop
    const made = new uPlot(optionsOf({ lines, seconds, text, least, width: frame.clientWidth }, setAt), [[]], frame);
    plot.current = made;
    const sizes = new ResizeObserver(() => made.setSize({ width: frame.clientWidth, height: HEIGHT }));
    sizes.observe(frame);
    return () => {
      sizes.disconnect();
      made.destroy();
    };
  }, [drawn]);
  useEffect(() => plot.current.setData([times, ...lines.map((line) => line.values)]), [times, drawn]);
  const place = at !== null && at < times.length ? at : times.length - 1;
  return html`<figure class="chart">
    <figcaption><h2>${title}</h2>
      <span class="lines">${lines.map((line) => html`<span key=${line.name} class="line">
        <i class=${`mark ${line.colour}`} aria-hidden="true"></i>${line.name} <b>${shown(latest(line.values, place), text)}</b></span>`)}</span>
    </figcaption>
    <div ref=${root} role="img" aria-label=${`${title}. ${lines.map((line) => said(line, text)).join(". ")}`}></div>
  </figure>`;
}

const shown = (value, text) => (value === null ? "–" : text(value));

/** The value at a place, or the one before it where nothing was measured. */
function latest(values, place) {
  return values.slice(0, place + 1).findLast((value) => value !== null && value !== undefined) ?? null;
}

/** A line in words, for those who do not see it. */
function said(line, text) {
  const known = line.values.filter((value) => value !== null);
  if (!known.length) return `${line.name}: nothing yet`;
  return `${line.name}: now ${text(known.at(-1))}, at most ${text(Math.max(...known))}`;
}

function optionsOf({ lines, seconds, text, least, width }, setAt) {
  const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `11px ${colour("--font")}` };
  const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return {
    width,
    height: HEIGHT,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_, low, high) => [(high ?? Date.now() / 1000) - seconds, high ?? Date.now() / 1000] },
      y: { range: (_, low, high) => [0, Math.max(least, (high ?? 0) * HEADROOM)] },
    },
    axes: [
      { ...axis, values: (_, splits) => splits.map(clock), space: 70, size: 26 },
      { ...axis, values: (_, splits) => splits.map((value) => text(value)), size: 56, space: 30 },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.name,
        stroke: colour(`--${line.colour}`),
        fill: line.fill ? `color-mix(in srgb, ${colour(`--${line.colour}`)} 16%, transparent)` : undefined,
        width: line.points ? 0 : 1.75,
        points: { show: line.points ?? false, size: 5, fill: colour(`--${line.colour}`) },
      })),
    ],
    hooks: { setCursor: [(made) => setAt(made.cursor.left >= 0 ? made.cursor.idx : null)] },
  };
}
