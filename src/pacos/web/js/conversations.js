/** The conversations and the one that is shown: what views read, and what people do with them. */

import * as browserStore from "./browser_store.js";
import { preferences } from "./preferences.js";
import { batch, computed, signal } from "./ui.js";
import { below, branch, latestLeaf, newId, titleOf } from "./tree.js";

/** @type {import("./ui.js").Signal<import("./browser_store.js").Conversation[]>} */
export const conversations = signal([]);

/** The conversation that is shown and all its messages; one without messages is kept nowhere yet. */
export const shown = signal({ conversation: blank(), messages: [] });

export const shownBranch = computed(() => branch(shown.value.messages, shown.value.conversation.leaf));

/** What went wrong outside of any message; views show it for a while. */
export const notices = signal([]);

const tabs = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("pacos");
if (tabs) tabs.onmessage = () => refresh();

/** Where conversations are kept now; `keeping.js` may put another store here. */
export const keeping = { store: browserStore };

export function notice(text, kind = "error") {
  const one = { id: newId(), text, kind };
  notices.value = [...notices.value, one];
  setTimeout(() => dismiss(one.id), kind === "error" ? 10_000 : 3500);
}

export function dismiss(id) {
  notices.value = notices.value.filter((one) => one.id !== id);
}

function blank() {
  const { model, system, options } = preferences.value;
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, model, system, options: { ...options }, leaf: null };
}

/** Read the list of conversations anew. */
export async function refresh() {
  conversations.value = await keeping.store.list();
}

async function kept(work) {
  try {
    await work;
    await refresh();
    tabs?.postMessage("changed");
  } catch (error) {
    notice(`The conversation could not be kept: ${error.message}`);
  }
}

/** Begin a conversation; it is kept from its first message on. */
export function startConversation() {
  shown.value = { conversation: blank(), messages: [] };
}

/** Show a conversation; whether there is one. @param {string} id */
export async function openConversation(id) {
  if (shown.value.conversation.id === id) return true;
  const conversation = (await keeping.store.list()).find((one) => one.id === id);
  if (!conversation) return false;
  const messages = await keeping.store.messagesOf(id);
  shown.value = { conversation, messages: messages.map(withLatest) };
  return true;
}

/** Messages that are being answered, newer than what is kept; `answering.js` fills it. */
export const current = new Map();

function withLatest(message) {
  return current.get(message.id) ?? message;
}

/**
 * Change the shown conversation and keep it.
 * @param {object} changes @param {object[]} [changed]  messages that are new or changed
 */
export function change(changes, changed = []) {
  return changeOf(shown.value.conversation, changes, changed);
}

/** The same for any conversation, shown or not. */
export async function changeOf(conversation, changes, changed = []) {
  const { conversation: open, messages } = shown.value;
  const latest = open.id === conversation.id ? open : conversations.value.find((one) => one.id === conversation.id);
  const next = { ...(latest ?? conversation), ...changes };
  const there = open.id === conversation.id;
  if (there) shown.value = { conversation: next, messages: merged(messages, changed) };
  if (next.leaf !== null) await kept(keeping.store.save(next, changed));
}

function merged(messages, changed) {
  if (!changed.length) return messages;
  const byId = new Map(messages.map((one) => [one.id, one]));
  for (const one of changed) byId.set(one.id, one);
  return [...byId.values()];
}

/** Put a message of the user below a parent and show it; it is kept meanwhile. */
export function addQuestion(parent, content, attachments) {
  const { conversation } = shown.value;
  const message = {
    id: newId(),
    conversation: conversation.id,
    parent,
    role: "user",
    content,
    attachments,
    created: Date.now(),
    state: "done",
  };
  const title = conversation.title || titleOf(content || attachments[0]?.name || "");
  change({ leaf: message.id, title, updated: Date.now() }, [message]);
  return message;
}

/** Another version of an answer, as the user wrote it. */
export function addVersion(message, content) {
  const { id: _, error: __, stream: ___, ...rest } = message;
  const version = { ...rest, id: newId(), content, created: Date.now(), state: "done", timings: null, finish: "" };
  return change({ leaf: version.id, updated: Date.now() }, [version]);
}

/** Show the branch that a message lies on. */
export function showVersion(message) {
  return change({ leaf: latestLeaf(shown.value.messages, message.id) });
}

/** How many messages go when one is removed. */
export function countBelow(message) {
  return below(shown.value.messages, message.id).size;
}

/** Remove a message and all below it. */
export async function removeMessage(message) {
  const { conversation, messages } = shown.value;
  const gone = below(messages, message.id);
  const left = messages.filter((one) => !gone.has(one.id));
  if (!left.length) return removeConversation(conversation.id);
  const other = left.filter((one) => one.parent === message.parent).at(-1);
  const leaf = other ? latestLeaf(left, other.id) : message.parent;
  const next = { ...conversation, leaf: leaf ?? latestLeaf(left, left[0].id) };
  shown.value = { conversation: next, messages: left };
  await kept(keeping.store.removeMessages(next, [...gone]));
}

/** Remove a conversation. @param {string} id */
export async function removeConversation(id) {
  batch(() => {
    conversations.value = conversations.value.filter((one) => one.id !== id);
    if (shown.value.conversation.id === id) startConversation();
  });
  await kept(keeping.store.remove(id));
}

/** @param {import("./browser_store.js").Conversation} conversation @param {string} title */
export function rename(conversation, title) {
  return changeOf(conversation, { title: title.trim() || conversation.title });
}

/** Keep conversations that came from a file. */
export async function adopt(entries) {
  for (const { conversation, messages } of entries) await keeping.store.save(conversation, messages);
  await refresh();
  tabs?.postMessage("changed");
}

/** A conversation with its messages, as they are exported. */
export async function whole(conversation) {
  return { conversation, messages: await keeping.store.messagesOf(conversation.id) };
}
