/** The status view: what the server does now and did in the last minutes, its open models, and their plans. */

import { bytesText } from "../js/attachments.js";
import { notice } from "../js/conversations.js";
import { refreshModels } from "../js/models.js";
import { postJson } from "../js/server.js";
import { html, useEffect, useState } from "../js/ui.js";
import { Icon } from "../js/views/icons.js";
import { countText, rateText } from "../js/views/numbers.js";
import { Chart } from "./chart.js";
import { PlanView } from "./plan.js";
import { follow, history, now, problem } from "./source.js";

export function StatusView() {
  useEffect(follow, []);
  const [planned, setPlanned] = useState("");
  const found = now.value;
  return html`<div class="status" tabindex="0" role="region" aria-label="Status">
    <header><h1>Status</h1>${found && html`<p class="muted">Pacos ${found.version}, up for
      ${" "}${durationText(found.uptime_seconds)}${found.draining ? ", stopping" : ""}</p>`}</header>
    ${problem.value && html`<div class="ending bad" role="status"><${Icon} name="warning" size=${16} />
      <span>${problem.value} It is asked again.</span></div>`}
    ${found && html`<${Tiles} found=${found} /><${Charts} found=${found} />
      <h2>Open models</h2><${Models} found=${found} plan=${setPlanned} planned=${planned} />`}
    ${planned && html`<${PlanView} key=${planned} model=${planned} close=${() => setPlanned("")} />`}
  </div>`;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function Tiles({ found }) {
  const { models, memory, first_token: first } = found;
  const pages = sum(models.map((one) => one.pages));
  const held = sum(models.map((one) => one.pages_held));
  const last = (name) => history.value?.[name].at(-1) ?? 0;
  const tiles = [
    ["Generating", html`${plainRate(last("generated"))} <small>tokens/s</small>`, `and reading ${plainRate(last("prompt"))}`],
    ["Time to first token", first.count ? secondsText(first.p50) : "–", first.count ? `9 of 10: ${secondsText(first.p90)}` : "nothing asked yet"],
    ["Sequences", sum(models.map((one) => one.running)), `${sum(models.map((one) => one.waiting))} waiting`],
    ["Pages in use", pages ? `${Math.round((100 * held) / pages)} %` : "–", pages ? `${countText(held)} of ${countText(pages)}` : "no model is open"],
    ["Processor", html`${last("cores").toFixed(1)} <small>cores</small>`, `of ${found.cores}`],
    ["Memory", memory.process ? bytesText(memory.process) : "–", memory.machine ? `${bytesText(memory.available)} free` : ""],
  ];
  return html`<dl class="tiles">${tiles.map(([name, value, note]) => html`<div key=${name}>
    <dt>${name}</dt><dd><b>${value}</b><span class="muted">${note}</span></dd></div>`)}</dl>`;
}

function Charts({ found }) {
  const rows = history.value;
  const shared = { times: rows.time, seconds: found.history_seconds };
  const line = (name, column, colour, more) => ({ name, values: rows[column], colour, ...more });
  return html`<section class="charts" aria-label="The last minutes">
    <${Chart} title="Tokens a second" ...${shared} text=${(value) => countText(Math.round(value))} least=${10}
      lines=${[line("generated", "generated", "chart-1", { fill: true }), line("prompts", "prompt", "chart-2")]} />
    <${Chart} title="Time to first token" ...${shared} text=${secondsText} least=${0.1}
      lines=${[line("median", "first_token_seconds", "chart-3", { points: true })]} />
    <${Chart} title="Sequences" ...${shared} text=${wholeText} least=${2}
      lines=${[line("running", "running", "chart-1", { fill: true }), line("waiting", "waiting", "chart-3")]} />
    <${Chart} title="Pages" ...${shared} text=${wholeText} least=${8}
      lines=${[line("in use", "pages_held", "chart-1", { fill: true }), line("kept for later", "pages_cached", "chart-2")]} />
    <${Chart} title="Processor" ...${shared} text=${(value) => value.toFixed(1)} least=${found.cores}
      lines=${[line("cores", "cores", "chart-2", { fill: true })]} />
    <${Chart} title="Memory" ...${shared} text=${bytesText} least=${1e8}
      lines=${[line("this process", "memory_bytes", "chart-4", { fill: true })]} />
  </section>`;
}

function Models({ found, plan, planned }) {
  const { models, loading } = found;
  if (!models.length && !loading.length) return html`<p class="muted">None: the first question opens one.</p>`;
  return html`<div class="models">
    ${models.map((one) => html`<${ModelCard} key=${one.name} model=${one} plan=${plan} planned=${planned} />`)}
    ${loading.map(({ model, seconds }) => html`<article key=${model} class="card"><header><h3><span class="dot opening"></span>${model}</h3></header>
      <p class="muted">is being opened for ${secondsText(seconds)}</p></article>`)}
  </div>`;
}

function ModelCard({ model, plan, planned }) {
  const reused = model.tokens_computed + model.tokens_reused;
  const facts = [
    ["Running", `${model.running}, ${model.waiting} waiting`],
    ["Context", `${countText(model.context_tokens)} tokens`],
    ["Memory", bytesText(model.bytes)],
    ["Generated", `${countText(model.tokens_generated)} tokens`],
    ["From the cache", reused ? `${Math.round((100 * model.tokens_reused) / reused)} % of tokens` : "–"],
    ...(model.preemptions ? [["Had to give way", countText(model.preemptions)]] : []),
    ...(model.closes_seconds !== null ? [["Closes", `in ${durationText(model.closes_seconds)} unless it is asked`]] : []),
    ...(model.stalled_seconds > 5 ? [["No step for", secondsText(model.stalled_seconds)]] : []),
  ];
  const shown = planned === model.name;
  return html`<article class="card" aria-label=${model.name}>
    <header><h3><span class="dot open" aria-hidden="true"></span>${model.name}</h3>
      <button type="button" class="button" aria-expanded=${shown} onClick=${() => plan(shown ? "" : model.name)}>Plan</button>
      <button type="button" class="button" disabled=${model.users > 0} onClick=${() => closeModel(model.name)}>Close</button>
    </header>
    <dl class="facts">${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    <${Pages} model=${model} />
    ${model.sequences.length > 0 && html`<${Sequences} model=${model} />`}
  </article>`;
}

async function closeModel(name) {
  try {
    await postJson("/models/unload", { model: name });
    notice(`${name} is closed.`, "good");
  } catch (error) {
    notice(error.message);
  }
  await refreshModels();
}

/** The pages of a model as one bar: in use, kept for later prompts, free. */
function Pages({ model }) {
  const { pages, pages_held: held, pages_cached: cached, pages_free: free, page_tokens: size } = model;
  const text = `${countText(held)} pages in use, ${countText(cached)} kept for later, ${countText(free)} free; ${size} tokens each`;
  const part = (count, kind) => html`<i class=${kind} style=${{ width: `${(100 * count) / Math.max(1, pages)}%` }}></i>`;
  return html`<div class="bar" role="img" aria-label=${text}>${part(held, "chart-1")}${part(cached, "chart-2")}</div>
    <p class="muted small">${text}</p>`;
}

function Sequences({ model }) {
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${`Sequences of ${model.name}`}><table>
    <thead><tr><th scope="col">Slot</th><th scope="col">State</th><th scope="col">Prompt</th><th scope="col">Generated</th><th scope="col">Speed</th></tr></thead>
    <tbody>${model.sequences.map((one, place) => html`<tr key=${place}><td>${one.slot}</td>
      <td>${one.place ? `${one.place}. in the queue` : one.generated_tokens ? "writes" : "reads"}</td>
      <td>${countText(one.prompt_tokens)}${one.cached_tokens ? ` (${countText(one.cached_tokens)} known)` : ""}</td>
      <td>${countText(one.generated_tokens)}</td><td>${one.tokens_per_second ? rateText(one.tokens_per_second) : "–"}</td></tr>`)}</tbody>
  </table></div>`;
}

const plainRate = (value) => (value >= 10 || value === 0 ? Math.round(value) : value.toFixed(1));
const wholeText = (value) => (Number.isInteger(value) ? countText(value) : "");

/** @param {number} seconds */
function secondsText(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
}

/** @param {number} seconds */
function durationText(seconds) {
  const units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
  const [size, name] = units.find(([one]) => seconds >= one) ?? [1, "second"];
  const count = Math.floor(seconds / size);
  return `${count} ${name}${count === 1 ? "" : "s"}`;
}
