/** The server's models, and the options that the answers of each take. */

import { shown } from "./conversations.js";
import { getJson, postJson } from "./server.js";
import { computed, signal } from "./ui.js";

/**
 * @typedef {object} Model
 * @property {string} id
 * @property {string[]} aliases
 * @property {boolean} loaded
 * @property {{value: "loaded" | "loading" | "sleeping" | "unloaded", failed?: boolean, error?: string}} status
 * @property {{context_tokens: number, bytes: number} | null} facts  of one that is open
 *
 * @typedef {object} Option
 * @property {string} name
 * @property {string} help
 * @property {string} type
 * @property {"number" | "integer" | "boolean" | "choice" | "text" | "list" | "json"} kind  how it is written
 * @property {unknown} default
 * @property {number} [minimum]
 * @property {number} [above]
 * @property {number} [maximum]
 * @property {string[]} choices
 * @property {string} [items]  the type of a list's entries
 * @property {string} group
 */

/** @type {{value: Model[]}} */
export const models = signal([]);
/** Whether the server told no models because it wants an API key. */
export const keyMissing = signal(false);

/** The model that answers in the shown conversation; null before the server told its models. */
export const usedModel = computed(() => {
  const { model } = shown.value.conversation;
  const named = models.value.find((one) => one.id === model || one.aliases.includes(model));
  return named ?? models.value[0] ?? null;
});

/** The context of the used model in tokens; 0 while it is not open. */
export const contextTokens = computed(() => usedModel.value?.facts?.context_tokens ?? 0);

export async function refreshModels() {
  try {
    models.value = (await getJson("/v1/models")).data;
    keyMissing.value = false;
  } catch (error) {
    keyMissing.value = error.status === 401;
  }
}

/** Whether a model is open, in one word: open, opening, closed, failed. @param {Model} model */
export function stateOf({ status }) {
  if (status.value === "loaded") return "open";
  if (status.value === "loading") return "opening";
  return status.failed ? "failed" : "closed";
}

/** Open a model before it is asked. Throws ServerError. @param {Model} model */
export async function openModel(model) {
  const opened = postJson("/models/load", { model: model.id });
  models.value = models.value.map((one) => (one.id === model.id ? { ...one, status: { value: "loading" } } : one));
  await opened.finally(refreshModels);
}

const optionsByModel = signal({});

/** Whether the server keeps conversations for those who wish it. */
export const serverKeeps = signal(false);

/** The options of the used model's answers; empty until `readOptions` has asked. @type {{value: Option[]}} */
export const options = computed(() => optionsByModel.value[usedModel.value?.id] ?? []);

// Together as people look for them; what a server has beside them stands under its own name for the group.
const GROUPS = [
  ["Basics", /^(temperature|top_p|top_k|min_p|n_predict|seed|stop)$/],
  ["Repetition", /^(repeat|presence|frequency|dry)_/],
];
const NAMES = {
  sampling: "More sampling",
  generation: "Length and context",
  reasoning: "Thinking",
  constraint: "Form of the answer",
  queue: "Queue",
};
const FIRST = ["temperature", "top_p", "top_k", "min_p", "n_predict", "seed", "stop"];
const OURS = new Set(["return_progress"]); // always asked for

/** Ask for the options of the used model, once. Throws ServerError. */
export async function readOptions() {
  const model = usedModel.value;
  if (!model || optionsByModel.value[model.id]) return;
  const { groups, conversations } = await getJson(`/pacos/options?${new URLSearchParams({ model: model.id })}`);
  serverKeeps.value = conversations;
  const found = groups.flatMap((group) => group.options.map((one) => option(one, group.name)));
  const order = [...GROUPS.map(([name]) => name), ...Object.values(NAMES)];
  const place = ({ name, group }) => [order.indexOf(group) + 1 || 99, FIRST.indexOf(name) + 1 || 99];
  const sorted = found
    .filter(({ name }) => !OURS.has(name))
    .map((one) => ({ one, at: place(one) }))
    .sort((a, b) => a.at[0] - b.at[0] || a.at[1] - b.at[1])
    .map(({ one }) => one);
  optionsByModel.value = { ...optionsByModel.value, [model.id]: sorted };
}

function option(row, group) {
  const ours = GROUPS.find(([, pattern]) => pattern.test(row.name))?.[0];
  return { ...row, choices: row.choices ?? [], kind: kindOf(row), group: ours ?? NAMES[group] ?? group };
}

function kindOf({ type, choices, items }) {
  if (type === "array") return items === "array" ? "json" : "list";
  if (choices) return "choice";
  return type === "string" ? "text" : type;
}
