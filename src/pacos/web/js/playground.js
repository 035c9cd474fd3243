/** What the playground asks: a prompt, a form of the answer or tools, and the rounds of calls and their results. */

import { ask, emptyAnswer, stopStream } from "./answer.js";
import { newId } from "./tree.js";
import { usedModel } from "./models.js";
import { signal } from "./ui.js";

const NAME = "pacos.playground";

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    kind: { enum: ["dragon", "dog", "rabbit"] },
    age: { type: "integer", minimum: 1, maximum: 99 },
    friends: { type: "array", items: { type: "string", maxLength: 20 }, maxItems: 3 },
  },
  required: ["name", "kind", "age", "friends"],
  additionalProperties: false,
};

const TOOLS = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Tell the weather of a place.",
      parameters: {
        type: "object",
        properties: { place: { type: "string", maxLength: 30 }, unit: { enum: ["celsius", "fahrenheit"] } },
        required: ["place", "unit"],
        additionalProperties: false,
      },
    },
  },
];

/** The forms that an answer can be held to: how each is asked for, and one to begin with. */
export const FORMS = [
  { name: "json_schema", label: "JSON schema", json: true, example: JSON.stringify(SCHEMA, null, 2) },
  { name: "tools", label: "Tools", json: true, example: JSON.stringify(TOOLS, null, 2) },
  { name: "grammar", label: "GBNF", json: false, example: 'root ::= "Yes" | "No" | "It depends on " [a-z ]+ "."' },
  { name: "regex", label: "Regex", json: false, example: "(19|20)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]" },
  { name: "choice", label: "Choices", json: false, example: "happy\nsad\nangry" },
  { name: "none", label: "Free", json: false, example: "" },
];

const BEGIN = {
  system: "",
  prompt: "Tell me about a small dragon.",
  form: "json_schema",
  texts: Object.fromEntries(FORMS.map(({ name, example }) => [name, example])),
  choice: "required",
  options: { n_predict: 256 },
};

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...BEGIN, ...found, texts: { ...BEGIN.texts, ...found.texts } };
  } catch {
    return BEGIN;
  }
}

/** What is asked. */
export const wanted = signal(stored());

/** What came: the messages so far, the answer under way or the last one, and what went wrong. */
export const outcome = signal({ messages: [], answer: null, running: false, error: "" });

export function want(changes) {
  wanted.value = { ...wanted.value, ...changes };
  localStorage.setItem(NAME, JSON.stringify(wanted.value));
}

export function startOver() {
  want(BEGIN);
  outcome.value = { messages: [], answer: null, running: false, error: "" };
}

/** What is wrong with a text that should be JSON; "" where it is fine. @param {string} text */
export function jsonProblem(text) {
  try {
    JSON.parse(text);
    return "";
  } catch (error) {
    const place = /position (\d+)/.exec(error.message)?.[1];
    if (place === undefined) return error.message;
    const lines = text.slice(0, Number(place)).split("\n");
    return `${error.message.replace(/ \(line.*/, "")} (line ${lines.length}, column ${lines.at(-1).length + 1})`;
  }
}

/** The request that is sent. Throws SyntaxError where JSON is none. */
export function requestBody(messages = firstMessages()) {
  const { form, texts, choice, options } = wanted.value;
  const text = texts[form];
  const body = { model: usedModel.value?.id ?? "default", messages, ...options };
  if (form === "json_schema") {
    body.response_format = { type: "json_schema", json_schema: { name: "answer", schema: JSON.parse(text) } };
  } else if (form === "tools") {
    body.tools = JSON.parse(text);
    const last = messages.at(-1)?.role;
    body.tool_choice = last === "tool" ? "auto" : choice; // a call that is required again and again never ends
  } else if (form === "choice") {
    body.choice = text.split("\n").filter(Boolean);
  } else if (form !== "none") {
    body[form] = text;
  }
  return body;
}

function firstMessages() {
  const { system, prompt } = wanted.value;
  const asked = [{ role: "user", content: prompt }];
  return system.trim() ? [{ role: "system", content: system }, ...asked] : asked;
}

let abort = null;

/** Ask anew. */
export function runPlayground() {
  return run(firstMessages());
}

/** Answer the calls of the last answer and let the model go on. @param {string[]} results  one for each call */
export function sendResults(results) {
  const { messages, answer } = outcome.value;
  const calls = answer.calls.map(({ id, name, arguments: given }) => ({
    id,
    type: "function",
    function: { name, arguments: given },
  }));
  const answers = calls.map(({ id }, place) => ({ role: "tool", tool_call_id: id, content: results[place] ?? "" }));
  return run([...messages, { role: "assistant", content: answer.content || null, tool_calls: calls }, ...answers]);
}

async function run(messages) {
  abort = new AbortController();
  const answer = emptyAnswer();
  const stream = newId();
  const show = (more) => (outcome.value = { messages, answer: { ...answer }, running: true, error: "", ...more });
  show({});
  try {
    await ask(requestBody(messages), { stream, answer, changed: () => show({}), abort: abort.signal });
    show({ running: false });
  } catch (error) {
    if (error.name === "AbortError") stopStream(stream);
    show({ running: false, error: error.name === "AbortError" ? "" : error.message });
  }
}

export function stopPlayground() {
  abort?.abort();
}

/** The request as a line for a shell. */
export function asCurl(body) {
  const quoted = JSON.stringify(body, null, 1).replaceAll("'", "'\\''");
  return `curl ${new URL("./v1/chat/completions", document.baseURI)} \\\n  -H 'Content-Type: application/json' \\\n  -d '${quoted}'`;
}
