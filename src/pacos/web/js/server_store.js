/**
 * Conversations on the server, where it was started with `--conversations`: the functions of `browser_store.js` over
 * `/pacos/conversations`. What the server has no field for goes into a message's `details`.
 */

import { getJson, request } from "./server.js";

const ALL = "/pacos/conversations";
const one = (id) => `${ALL}/${encodeURIComponent(id)}`;

/** What was sent last of each conversation, so that only changes are sent. */
const sent = new Map();

/** Writing follows writing, in each conversation. */
const turns = new Map();

function inTurn(id, work) {
  const next = (turns.get(id) ?? Promise.resolve()).catch(() => {}).then(work);
  turns.set(id, next);
  return next;
}

function fromServer({ id, title, model, system, parameters, created, updated, active }) {
  return { id, title, model, system, options: parameters, created: created * 1000, updated: updated * 1000, leaf: active };
}

/** All conversations, the latest first. @returns {Promise<import("./browser_store.js").Conversation[]>} */
export async function list() {
  return (await getJson(ALL)).data.filter((found) => found.active !== null).map(fromServer);
}

/** The messages of a conversation, oldest first. @param {string} id */
export async function messagesOf(id) {
  return (await getJson(one(id))).messages.map((message, place) => messageFromServer(message, id, place));
}

function messageFromServer({ timings, details, created, ...message }, conversation, place) {
  // the server's list has the order of writing; its times alone may be equal
  const at = created * 1000 + place / 1000;
  return { state: "done", ...details, ...message, conversation, created: at, timings: timings && costs(timings) };
}

/** Timings in llama-server's names, as answers have them. */
function costs({ prompt_tokens: prompt, cached_tokens: cached, prompt_seconds: wait, generated_tokens: made, generate_seconds: work }) {
  return {
    prompt_n: prompt - cached,
    cache_n: cached,
    prompt_ms: wait * 1000,
    predicted_n: made,
    predicted_ms: work * 1000,
    predicted_per_second: work ? made / work : 0,
  };
}

function toServer({ role, parent, content, reasoning, attachments, timings, state, finish, error, code, model, stream, bytes }) {
  const details = { state, finish, error, code, model, stream, bytes };
  return {
    role,
    parent,
    content,
    reasoning: reasoning ?? "",
    attachments: attachments ?? [],
    details: Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined && value !== "")),
    ...(timings ? { timings: spent(timings) } : {}),
  };
}

function spent({ prompt_n: read = 0, cache_n: cached = 0, prompt_ms: wait = 0, predicted_n: made = 0, predicted_ms: work = 0 }) {
  return {
    prompt_tokens: read + cached,
    cached_tokens: cached,
    prompt_seconds: wait / 1000,
    generated_tokens: made,
    generate_seconds: work / 1000,
  };
}

const put = (path, body) => request(path, { method: "PUT", body });

/** Keep a conversation and some of its messages. @param {object} conversation @param {object[]} changed */
export function save(conversation, changed = []) {
  const { id, title, model, system, options, leaf } = conversation;
  return inTurn(id, async () => {
    const said = JSON.stringify({ title: [...title].slice(0, 200).join(""), model, system, parameters: options });
    const before = sent.get(id) ?? {};
    if (before.said !== said) await put(one(id), JSON.parse(said));
    sent.set(id, { ...before, said });
    for (const message of changed) await put(`${one(id)}/messages/${encodeURIComponent(message.id)}`, toServer(message));
    if (before.leaf !== leaf) await put(one(id), { active: leaf });
    sent.set(id, { said, leaf });
  });
}

/** Forget a message and all below it. @param {object} conversation as it is without them @param {string[]} ids its first */
export function removeMessages(conversation, [first]) {
  sent.delete(conversation.id); // the server showed another branch of its own accord
  return inTurn(conversation.id, async () => {
    await request(`${one(conversation.id)}/messages/${encodeURIComponent(first)}`, { method: "DELETE" });
    await put(one(conversation.id), { active: conversation.leaf });
  });
}

/** Forget a conversation. @param {string} id */
export function remove(id) {
  sent.delete(id);
  return inTurn(id, () => request(one(id), { method: "DELETE" }));
}

/** The ids of conversations whose title or messages have all these words. @param {string} text */
export async function search(text) {
  return (await getJson(`${ALL}?${new URLSearchParams({ search: text })}`)).data.map((found) => found.id);
}
