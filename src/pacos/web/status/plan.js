/** The plan of a model as a drawing: parts in order of computation, equal layers folded, weights with type and size. */

import { bytesText } from "../js/attachments.js";
import { getJson } from "../js/server.js";
import { html, useEffect, useState } from "../js/ui.js";
import { Icon, IconButton } from "../js/views/icons.js";
import { countText } from "../js/views/numbers.js";

const COLOURS = 6;

export function PlanView({ model, close }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState("");
  useEffect(() => {
    getJson(`/pacos/plan?${new URLSearchParams({ model })}`).then(setFound, (problem) => setError(problem.message));
  }, []);
  return html`<section class="plan" aria-label=${`Plan of ${model}`} aria-busy=${!found && !error}>
    <header><h2>Plan of ${model}</h2><${IconButton} icon="close" label="Close the plan" onClick=${close} /></header>
    ${error && html`<div class="ending bad" role="alert"><${Icon} name="warning" size=${16} /><span>${error}</span></div>`}
    ${found && html`<${Drawn} found=${found} />`}
  </section>`;
}

function Drawn({ found }) {
  const names = Object.keys(found.types);
  const colourOf = (type) => `type-${names.indexOf(type) % COLOURS}`;
  return html`
    <p>${found.architecture}, ${countText(found.parameters)} parameters in ${found.tensors} tensors,
      ${" "}${bytesText(found.bytes)}, ${found.bits_per_weight} bits a weight</p>
    <${Types} found=${found} colourOf=${colourOf} />
    ${found.cache && html`<${Cache} cache=${found.cache} weights=${found.bytes} />`}
    <ol class="parts">${found.parts.map((part, place) => html`<${Part} key=${place} part=${part} colourOf=${colourOf}
      name=${nameOf(part, place)} />`)}</ol>
    ${found.unused.tensors > 0 && html`<p class="muted">${found.unused.tensors} tensors (${bytesText(found.unused.bytes)}) are in the file and not read.</p>`}`;
}

/** What of the bytes each type is. */
function Types({ found, colourOf }) {
  const types = Object.entries(found.types);
  const share = (bytes) => (100 * bytes) / found.bytes;
  return html`<div class="bar thick" aria-hidden="true">${types.map(([name, { bytes }]) => html`<i key=${name}
      class=${colourOf(name)} style=${{ width: `${share(bytes)}%` }}></i>`)}</div>
    <ul class="legend" aria-label="Types of weights">${types.map(([name, { bytes, tensors }]) => html`<li key=${name}>
      <i class=${`mark ${colourOf(name)}`} aria-hidden="true"></i><b>${name}</b> ${bytesText(bytes)} (${share(bytes).toFixed(share(bytes) < 1 ? 2 : 0)} %),
      ${" "}${tensors} ${tensors === 1 ? "tensor" : "tensors"}</li>`)}</ul>`;
}

/** What tokens take beside the weights, for a number of them that can be chosen. */
function Cache({ cache, weights }) {
  const [tokens, setTokens] = useState(4096);
  const [sequences, setSequences] = useState(1);
  const all = sequences * (tokens * cache.token_bytes + cache.state_bytes);
  const number = (value, set) => html`<input type="number" min="1" max="100000000" value=${value}
    onInput=${(event) => event.target.value > 0 && set(Math.floor(event.target.value))} />`;
  return html`<div class="cache">
    <p>${cache.token_bytes > 0 ? html`A token takes <b>${bytesText(cache.token_bytes)}</b> in the cache: keys in ${cache.type_k}, values in
      ${" "}${cache.type_v}, ${cache.layers} layers. ` : "Tokens take nothing in a cache. "}
      ${cache.state_bytes > 0 && html`A sequence carries a state of <b>${bytesText(cache.state_bytes)}</b>.`}</p>
    <p><label>${number(sequences, setSequences)} sequences</label> of <label>${number(tokens, setTokens)} tokens</label>:
      ${" "}<output><b>${bytesText(all)}</b>, with the weights <b>${bytesText(all + weights)}</b></output></p>
  </div>`;
}

function nameOf(part, place) {
  const { layers, stack } = part;
  if (!layers.length) return place === 0 ? "Input" : "Output";
  return `${stack ? `${stack}: ` : ""}${layers.length === 1 ? "layer" : "layers"} ${rangesText(layers)}`.replace(/^./, (one) => one.toUpperCase());
}

/** Numbers as ranges: 0–3, 5. @param {number[]} numbers in order */
export function rangesText(numbers) {
  const ranges = [];
  for (const one of numbers) {
    const last = ranges.at(-1);
    if (last && last[1] === one - 1) last[1] = one;
    else ranges.push([one, one]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
}

/** Operations in order, the same ones without weights that follow each other as one. */
function runsOf(operations) {
  const runs = [];
  for (const one of operations) {
    const last = runs.at(-1);
    if (last?.op === one.op && !one.weights.length && !one.cached) {
      last.times += 1;
      last.shapes = [...last.shapes, ...one.shapes];
    } else {
      runs.push({ ...one, times: 1 });
    }
  }
  return runs;
}

/** Its bars compare the weights of the part. */
function Part({ part, name, colourOf }) {
  const count = part.layers.length;
  const largest = Math.max(1, ...part.operations.flatMap((one) => one.weights).map((one) => one.bytes));
  const size = count > 1 ? `${count} × ${bytesText(part.bytes)} = ${bytesText(count * part.bytes)}` : bytesText(part.bytes);
  return html`<li class=${count > 1 ? "many" : ""}><details open>
    <summary><span class="part-name">${name}</span><span class="muted">${size}</span></summary>
    <ol class="operations">${runsOf(part.operations).map((one, place) => html`<li key=${place}>
      <span class="op" title=${attributesText(one.attributes)}>${one.op}${one.times > 1 ? ` × ${one.times}` : ""}</span>
      <span class="weights">${one.weights.map((weight) => html`<${Weight} key=${weight.name} weight=${weight} colourOf=${colourOf} largest=${largest} />`)}
        ${one.cached && html`<span class="weight"><i class="mark chart-2" aria-hidden="true"></i>${one.op === "attention" ? "cache of keys and values" : "state"}</span>`}</span>
      <span class="shape muted">${one.shapes.map((shape) => `[${shape.join(", ")}]`).join(" ")}</span>
    </li>`)}</ol>
  </details></li>`;
}

const attributesText = (attributes) => Object.entries(attributes).map(([name, value]) => `${name} ${value}`).join(", ");

function Weight({ weight, colourOf, largest }) {
  const { name, type, shape, bytes, tied } = weight;
  return html`<span class="weight"><i class=${`mark ${colourOf(type)}`} aria-hidden="true"></i><code>${name}</code>
    ${" "}<b>${type}</b> ${shape.join(" × ")} <span class="muted">${tied ? "as before" : bytesText(bytes)}</span>
    <i class=${`size ${colourOf(type)}`} style=${{ width: `${(100 * bytes) / largest}%` }} aria-hidden="true"></i></span>`;
}
