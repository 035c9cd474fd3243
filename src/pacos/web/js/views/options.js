/** The options of a conversation: its system prompt, and everything that its answers can be asked for. */

import { change, notice, shown } from "../conversations.js";
import { options } from "../models.js";
import { prefer, preferences } from "../preferences.js";
import { html, signal, useState } from "../ui.js";
import { IconButton } from "./icons.js";

export const optionsShown = signal(false);

export function OptionsPanel() {
  const [text, setText] = useState("");
  const { conversation } = shown.value;
  const close = () => (optionsShown.value = false);
  return html`<aside class="panel" id="options" aria-label="Options"
    onKeyDown=${(event) => event.key === "Escape" && (close(), event.stopPropagation())}>
    <header><h2>Options</h2><${IconButton} icon="close" label="Close options" onClick=${close} /></header>
    <div class="panel-body">
      <${SystemPrompt} conversation=${conversation} />
      <div class="panel-tools">
        <input type="search" placeholder="Find an option" aria-label="Find an option" value=${text}
          onInput=${(event) => setText(event.target.value)} />
        <button type="button" class="button" disabled=${!Object.keys(conversation.options).length}
          onClick=${() => change({ options: {} })}>Reset all</button>
      </div>
      <${OptionGroups} find=${text} values=${conversation.options} choose=${(values) => change({ options: values })} />
      <${ForNew} conversation=${conversation} />
    </div>
  </aside>`;
}

function SystemPrompt({ conversation }) {
  return html`<label class="field">
    <span>System prompt ${conversation.system && html`<button type="button" class="link-button"
      onClick=${() => change({ system: "" })}>Reset</button>`}</span>
    <textarea rows="4" placeholder="What the model is told before the conversation" value=${conversation.system}
      onChange=${(event) => change({ system: event.target.value })}></textarea>
  </label>`;
}

/** Make these options those of new conversations. */
function ForNew({ conversation }) {
  const { system, options: values } = conversation;
  const kept = preferences.value;
  const same = system === kept.system && JSON.stringify(values) === JSON.stringify(kept.options);
  return html`<div class="for-new">
    <button type="button" class="button" disabled=${same} onClick=${() => {
      prefer({ system, options: values });
      notice("New conversations begin with these options.", "good");
    }}>Use for new conversations</button>
    <label class="switch"><input type="checkbox" checked=${kept.enterSends}
      onChange=${(event) => prefer({ enterSends: event.target.checked })} />Enter sends the message</label>
  </div>`;
}

/**
 * Every option that the server tells, in groups; those that fit the text that is looked for.
 * @param {{find: string, values: object, choose: (values: object) => void}} props
 */
export function OptionGroups({ find, values, choose }) {
  const words = find.toLowerCase().split(/\s+/).filter(Boolean);
  const fitting = options.value.filter(({ name, help }) => {
    const about = `${name} ${name.replaceAll("_", " ")} ${help}`.toLowerCase();
    return words.every((word) => about.includes(word));
  });
  const groups = new Map();
  for (const one of fitting) groups.set(one.group, [...(groups.get(one.group) ?? []), one]);
  if (!fitting.length) return html`<p class="muted">${options.value.length ? "No such option." : "Asking the server…"}</p>`;
  return [...groups].map(([group, ones], place) => {
    const changed = ones.filter(({ name }) => name in values).length;
    return html`<details class="group" key=${group} open=${place === 0 || words.length > 0}>
      <summary>${group}${changed > 0 && html`<span class="badge">${changed} changed</span>`}</summary>
      ${ones.map((one) => html`<${OptionRow} key=${one.name} option=${one} value=${values[one.name]}
        choose=${(value) => choose(withValue(values, one.name, value))} />`)}
    </details>`;
  });
}

function withValue(values, name, value) {
  const { [name]: _, ...rest } = values;
  return value === undefined ? rest : { ...rest, [name]: value };
}

function OptionRow({ option, value, choose }) {
  const [wrong, setWrong] = useState(null); // what was written and why it cannot be
  const changed = value !== undefined || wrong !== null;
  const set = (text) => {
    try {
      choose(read(option, text));
      setWrong(null);
    } catch (error) {
      setWrong({ text, problem: error.message });
    }
  };
  const id = `option-${option.name}`;
  return html`<div class="option ${changed ? "changed" : ""} ${option.kind}">
    <label for=${id}>${option.name}</label>
    <${Control} id=${id} option=${option} value=${value} set=${set} wrong=${wrong} />
    ${changed && html`<button type="button" class="link-button" aria-label=${`Reset ${option.name}`}
      onClick=${() => (choose(undefined), setWrong(null))}>Reset</button>`}
    <p class="muted" id=${`${id}-help`}>${option.help}</p>
    ${wrong && html`<p class="error-text" role="alert">${wrong.problem}</p>`}
  </div>`;
}

function Control({ id, option, value, set, wrong }) {
  const rest = { id, "aria-describedby": `${id}-help`, "aria-invalid": wrong ? "true" : undefined };
  const heard = (event) => set(event.target.value);
  const current = wrong?.text ?? written(option, value ?? "");
  const hint = written(option, option.default ?? "");
  if (option.kind === "boolean") {
    return html`<input type="checkbox" ...${rest} checked=${value ?? option.default ?? false}
      onChange=${(event) => set(event.target.checked)} />`;
  }
  if (option.kind === "choice") {
    return html`<select ...${rest} value=${value ?? ""} onChange=${heard}>
      <option value="">${hint ? `default (${hint})` : "default"}</option>
      ${option.choices.map((one) => html`<option key=${one} value=${one}>${one}</option>`)}
    </select>`;
  }
  if (["list", "json", "text"].includes(option.kind)) {
    return html`<textarea rows="2" ...${rest} spellcheck="false" placeholder=${hint} value=${current} onChange=${heard}></textarea>`;
  }
  return html`<input type="text" inputmode=${option.minimum < 0 ? undefined : "decimal"} ...${rest} placeholder=${hint}
    value=${current} onChange=${heard} />`;
}

function written(option, value) {
  if (Array.isArray(value) && option.kind !== "json") return value.map((one) => String(one).replaceAll("\n", "\\n")).join("\n");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** The value that a text means; undefined where it is empty. Throws an Error that says what is wrong. */
export function read(option, given) {
  if (typeof given === "boolean") return given;
  const text = given.trim();
  if (!text) return undefined;
  if (option.kind === "list") {
    const lines = given.split("\n").filter(Boolean).map((line) => line.replaceAll("\\n", "\n"));
    return option.items === "integer" ? lines.map(whole) : lines;
  }
  if (option.kind === "json") return JSON.parse(text);
  if (option.kind !== "number" && option.kind !== "integer") return given;
  const number = option.kind === "integer" ? whole(text) : Number(text.replace(",", "."));
  if (!Number.isFinite(number)) throw new Error(`${text} is no number.`);
  const { minimum = -Infinity, above = -Infinity, maximum = Infinity } = option;
  if (number <= above) throw new Error(`Use more than ${above}.`);
  if (number < minimum || number > maximum) throw new Error(`Use ${minimum} to ${maximum}.`);
  return number;
}

function whole(text) {
  if (!/^\s*-?\d+\s*$/.test(text)) throw new Error(`${text.trim()} is no whole number.`);
  return Number(text);
}
