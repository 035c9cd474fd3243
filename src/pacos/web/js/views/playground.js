/** The playground: answers in a form, and calls of tools, tried out. */

import { copyText } from "../clipboard.js";
import {
  asCurl,
  FORMS,
  jsonProblem,
  outcome,
  requestBody,
  runPlayground,
  sendResults,
  startOver,
  stopPlayground,
  want,
  wanted,
} from "../playground.js";
import { html, useState } from "../ui.js";
import { Icon, IconButton } from "./icons.js";
import { rateText } from "./numbers.js";
import { OptionGroups } from "./options.js";

export function Playground() {
  return html`<div class="playground"><${Asked} /><${Came} /></div>`;
}

function Asked() {
  const { system, prompt, form, texts, options } = wanted.value;
  const kind = FORMS.find((one) => one.name === form);
  const problem = kind.json ? jsonProblem(texts[form]) : "";
  const keys = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    if (!problem) runPlayground();
  };
  return html`<section aria-label="Request" onKeyDown=${keys}>
    <h1>Playground</h1>
    <p class="muted">Hold an answer to a form, or give the model tools to call.</p>
    <label class="field"><span>System prompt</span>
      <textarea rows="1" value=${system} onInput=${(event) => want({ system: event.target.value })}></textarea></label>
    <label class="field"><span>Prompt</span>
      <textarea rows="3" value=${prompt} onInput=${(event) => want({ prompt: event.target.value })}></textarea></label>
    <${Tabs} form=${form} />
    <div id="form" role="tabpanel" aria-labelledby=${`tab-${form}`}>
      ${form === "none" ? html`<p class="playground-row muted">The answer may be any text.</p>`
        : html`<${FormBox} kind=${kind} text=${texts[form]} problem=${problem} />`}
    </div>
    <${Run} problem=${problem} kind=${kind} />
    <details class="group"><summary>Options</summary>
      <${OptionGroups} find="" values=${options} choose=${(values) => want({ options: values })} />
    </details>
  </section>`;
}

function Tabs({ form }) {
  const keys = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const at = FORMS.findIndex((one) => one.name === form);
    const next = FORMS[(at + by + FORMS.length) % FORMS.length].name;
    want({ form: next });
    event.currentTarget.querySelector(`#tab-${next}`).focus();
  };
  return html`<div class="tabs" role="tablist" aria-label="Form of the answer" onKeyDown=${keys}>
    ${FORMS.map(({ name, label }) => html`<button type="button" role="tab" key=${name} id=${`tab-${name}`} aria-controls="form"
      aria-selected=${name === form} tabindex=${name === form ? 0 : -1} onClick=${() => want({ form: name })}>${label}</button>`)}
  </div>`;
}

function FormBox({ kind, text, problem }) {
  const { texts, choice } = wanted.value;
  const set = (value) => want({ texts: { ...texts, [kind.name]: value } });
  return html`
    <textarea class="code-box" rows=${kind.json ? 14 : 4} spellcheck="false" aria-label=${kind.label} value=${text}
      aria-invalid=${problem ? "true" : undefined} onInput=${(event) => set(event.target.value)}></textarea>
    ${problem && html`<p class="error-text" role="alert">${problem}</p>`}
    ${kind.name === "tools" && html`<div class="playground-row"><label>Call <select value=${choice}
      onChange=${(event) => want({ choice: event.target.value })}>
      <option value="required">at least one</option><option value="auto">as the model likes</option>
      <option value="none">none</option></select></label></div>`}`;
}

function Run({ problem, kind }) {
  const { running } = outcome.value;
  const { texts } = wanted.value;
  const text = texts[kind.name];
  const set = (value) => want({ texts: { ...texts, [kind.name]: value } });
  return html`<div class="playground-row">
    ${running ? html`<button type="button" class="button" onClick=${stopPlayground}>Stop</button>`
      : html`<button type="button" class="button primary" disabled=${problem !== ""} title="Ctrl Enter"
        onClick=${() => runPlayground()}>Run</button>`}
    <span class="space"></span>
    ${kind.json && html`<button type="button" class="button" disabled=${problem !== ""}
      onClick=${() => set(JSON.stringify(JSON.parse(text), null, 2))}>Format</button>`}
    ${text !== kind.example && html`<button type="button" class="button" onClick=${() => set(kind.example)}>Example</button>`}
    <button type="button" class="button" disabled=${running} onClick=${startOver}>Start over</button>
  </div>`;
}

function Came() {
  const { answer, running, error } = outcome.value;
  return html`<section aria-label="Answer" aria-busy=${running ? "true" : undefined}>
    <h2>Answer</h2>
    ${error && html`<div class="ending bad" role="alert"><${Icon} name="warning" size=${16} /><span>${error}</span></div>`}
    ${!answer && html`<p class="muted">Run the request to see what comes.</p>`}
    ${answer?.reasoning && html`<details class="thought"><summary>Thoughts</summary><p>${answer.reasoning}</p></details>`}
    ${answer?.content && html`<${Text} text=${answer.content} running=${running} />`}
    ${answer?.calls.length > 0 && html`<${Calls} key=${answer.calls[0].id} calls=${answer.calls} running=${running} />`}
    ${answer?.timings && html`<p class="muted verdict">${answer.timings.predicted_n} tokens ·
      ${" "}${rateText(answer.timings.predicted_per_second)}${answer.finish === "length" ? " · cut off at the limit of tokens" : ""}</p>`}
    <${Sent} />
  </section>`;
}

/** The text of an answer; JSON that is complete is laid out, and said to be right. */
function Text({ text, running }) {
  const json = /^\s*[{[]/.test(text);
  const problem = json && !running ? jsonProblem(text) : "";
  const laidOut = json && !running && !problem ? JSON.stringify(JSON.parse(text), null, 2) : text;
  return html`<pre class="result" tabindex="0">${laidOut}</pre>
    ${json && !running && html`<p class="verdict ${problem ? "bad" : ""}">
      <${Icon} name=${problem ? "warning" : "check"} size=${16} />${problem || "Complete JSON"}</p>`}`;
}

function Calls({ calls, running }) {
  const [results, setResults] = useState([]);
  const set = (place, value) => setResults(calls.map((_, other) => (other === place ? value : results[other] ?? "")));
  return html`${calls.map(({ id, name, arguments: given }, place) => html`<div class="call" key=${id || place}>
      <header><${Icon} name="play" size=${14} />${name}</header>
      <pre class="result" tabindex="0">${jsonProblem(given) ? given : JSON.stringify(JSON.parse(given), null, 2)}</pre>
      <label>Its result
        <textarea class="code-box" rows="2" spellcheck="false" placeholder='{"sky": "clear"}' value=${results[place] ?? ""}
          onInput=${(event) => set(place, event.target.value)}></textarea></label>
    </div>`)}
    <div class="playground-row"><button type="button" class="button" disabled=${running}
      onClick=${() => sendResults(results)}>Send results</button></div>`;
}

function Sent() {
  let text;
  try {
    text = asCurl(requestBody());
  } catch {
    return null; // the form says what is wrong
  }
  return html`<details class="group"><summary>Request for a shell</summary>
    <div class="playground-row"><pre class="result" tabindex="0">${text}</pre>
    <${IconButton} icon="copy" label="Copy request" size=${16} onClick=${() => copyText(text)} /></div>
  </details>`;
}
