/** The server's models, the properties of the one that is used, and the options that its answers take. */

import { getJson } from "./server.js";
import { shown } from "./conversations.js";
import { computed, signal } from "./ui.js";

/**
 * @typedef {{id: string, aliases: string[], loaded: boolean}} Model
 * @typedef {object} Option
 * @property {string} name
 * @property {string} help
 * @property {"number" | "integer" | "boolean" | "choice" | "text" | "list"} kind
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {string[]} choices
 * @property {string} group
 */

export const models = signal([]);
export const modelsError = signal("");

/** The model that answers in the shown conversation; null before the server told its models. */
export const usedModel = computed(() => {
  const { model } = shown.value.conversation;
  const named = models.value.find((one) => one.id === model || one.aliases.includes(model));
  return named ?? models.value[0] ?? null;
});

/** Properties by model, as /props tells them. */
const properties = signal({});
export const usedProperties = computed(() => properties.value[usedModel.value?.id] ?? null);

export async function refreshModels() {
  try {
    models.value = (await getJson("/v1/models")).data;
    modelsError.value = "";
  } catch (error) {
    modelsError.value = error.message;
  }
}

/** Ask for the properties of a model, once; only of one that is open, as the question would open it. */
export async function readProperties(model) {
  if (properties.value[model.id]) return;
  const found = await getJson(`/props?${new URLSearchParams({ model: model.id })}`);
  properties.value = { ...properties.value, [model.id]: found };
}

/** The context of the used model in tokens; 0 while unknown. */
export const contextTokens = computed(() => usedProperties.value?.default_generation_settings.n_ctx ?? 0);

/** What the server does where a conversation says nothing, by option. */
export const defaultValues = computed(() => usedProperties.value?.default_generation_settings.params ?? {});

export const options = signal([]);

// Fields that say what is asked, not how it is answered; those of the playground; and second names.
const NO_OPTIONS = new Set(
  (
    "model messages stream stream_options n user metadata service_tier store timings_per_token return_progress " +
    "sse_ping_interval id_slot response_format tools tool_choice parallel_tool_calls chat_template_kwargs " +
    "logprobs top_logprobs max_completion_tokens n_predict cache_salt"
  ).split(" "),
);

const GROUPS = [
  ["Basics", /^(temperature|top_p|top_k|min_p|max_tokens|seed|stop)$/],
  ["Thinking", /^reasoning/],
  ["Repetition", /^(repeat|presence|frequency|dry)_/],
  ["More sampling", /^(typical_p|top_n_sigma|tfs_z|top_a|xtc|min_keep|mirostat|adaptive|dynatemp|samplers|sampler_seq|logit_bias)/],
  ["Form of the answer", /^(grammar|json_schema|regex|lark|choice)$/],
  ["Length and context", /./],
];

// What the document leaves without a word.
const HELP = {
  temperature: "How freely words are chosen; 0 always takes the likeliest.",
  max_tokens: "Most tokens of an answer; -1 is until the model ends.",
  seed: "Random seed; -1 draws one.",
  stop: "Texts that end the answer; one a line.",
  logit_bias: "Add to tokens' logits, as JSON: pairs of token id and bias.",
  json_schema: "JSON schema that the answer obeys.",
  reasoning_effort: "How hard to think, for models whose template asks.",
};

const LISTS = new Set(["stop", "stop_ids", "samplers", "dry_sequence_breakers", "choice"]);
const JSON_VALUES = new Set(["logit_bias", "json_schema"]);

/** Learn the options of answers from the server's own description, once. */
export async function readOptions() {
  if (options.value.length) return;
  const document = await getJson("/openapi.json");
  const operation = document.paths["/v1/chat/completions"].post;
  const reference = operation.requestBody.content["application/json"].schema.$ref.split("/").at(-1);
  const found = document.components.schemas[reference].properties;
  const order = GROUPS.map(([name]) => name);
  options.value = Object.entries(found)
    .filter(([name]) => !NO_OPTIONS.has(name))
    .map(([name, schema]) => option(name, schema))
    .sort((a, b) => order.indexOf(a.group) - order.indexOf(b.group) || inGroup(a) - inGroup(b));
}

const FIRST = ["temperature", "top_p", "top_k", "min_p", "max_tokens", "seed", "stop"];
const inGroup = ({ name }) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);

function option(name, schema) {
  const facts = (schema.anyOf ?? [schema]).find((one) => one.type !== "null") ?? {};
  return {
    name,
    help: schema.description ?? HELP[name] ?? "",
    kind: kindOf(name, facts),
    minimum: facts.minimum ?? facts.exclusiveMinimum,
    maximum: facts.maximum,
    choices: facts.enum ?? [],
    group: GROUPS.find(([, pattern]) => pattern.test(name))[0],
  };
}

function kindOf(name, facts) {
  if (JSON_VALUES.has(name)) return "json";
  if (LISTS.has(name)) return "list";
  if (facts.enum) return "choice";
  return ["number", "integer", "boolean"].includes(facts.type) ? facts.type : "text";
}
