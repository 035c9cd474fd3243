/** Conversations as files: JSON that comes back in whole, Markdown to read. */

import { withAttachments } from "./attachments.js";
import { branch, newId } from "./tree.js";

const FORMAT = "pacos.conversations";
const STATES = ["done", "stopped", "interrupted", "failed"];

/** @param {{conversation: object, messages: object[]}[]} entries */
export function toJson(entries) {
  return JSON.stringify({ format: FORMAT, version: 1, conversations: entries }, null, 1);
}

/** The shown branch as Markdown. */
export function toMarkdown(conversation, messages) {
  const parts = [`# ${conversation.title}`];
  if (conversation.system) parts.push(`**System**\n\n${conversation.system}`);
  for (const one of branch(messages, conversation.leaf)) {
    const name = one.role === "user" ? "User" : `Assistant${one.model ? ` (${one.model})` : ""}`;
    if (one.reasoning) parts.push(`<details><summary>Thoughts</summary>\n\n${one.reasoning}\n\n</details>`);
    parts.push(`**${name}**\n\n${withAttachments(one.content, one.attachments)}`);
  }
  return `${parts.join("\n\n")}\n`;
}

/**
 * Conversations of a file that `toJson` made, under new ids. Throws an Error that says what is wrong with it.
 * @param {string} text
 */
export function fromJson(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch (error) {
    throw new Error(`The file is no JSON: ${error.message}`);
  }
  if (found?.format !== FORMAT || !Array.isArray(found.conversations)) {
    throw new Error(`The file has no conversations of Pacos ("format": "${FORMAT}" is missing).`);
  }
  return found.conversations.map(renewed);
}

function renewed({ conversation, messages } = {}, place) {
  if (typeof conversation?.id !== "string" || !Array.isArray(messages)) {
    throw new Error(`Conversation ${place + 1} of the file has no id or no messages.`);
  }
  const id = newId();
  const names = new Map(messages.map((one) => [one?.id, newId()]));
  return {
    conversation: {
      id,
      title: text(conversation.title) || "Imported",
      created: time(conversation.created),
      updated: time(conversation.updated),
      model: text(conversation.model),
      system: text(conversation.system),
      options: plain(conversation.options),
      leaf: names.get(conversation.leaf) ?? null,
    },
    messages: messages.map((one) => renewedMessage(one, id, names)),
  };
}

function renewedMessage(one, conversation, names) {
  if (!["user", "assistant"].includes(one?.role) || typeof one.content !== "string") {
    throw new Error(`A message of the file has the role ${JSON.stringify(one?.role)} or no content.`);
  }
  const attachments = (Array.isArray(one.attachments) ? one.attachments : [])
    .map((file) => ({ name: text(file?.name), size: Number(file?.size) || 0, text: text(file?.text) }));
  return {
    id: names.get(one.id),
    conversation,
    parent: names.get(one.parent) ?? null,
    role: one.role,
    content: one.content,
    reasoning: text(one.reasoning),
    attachments,
    created: time(one.created),
    state: STATES.includes(one.state) ? one.state : "done",
    finish: text(one.finish),
    error: text(one.error),
    model: text(one.model),
    timings: one.timings ? plain(one.timings) : null,
  };
}

const text = (value) => (typeof value === "string" ? value : "");
const time = (value) => (Number.isFinite(value) ? value : Date.now());
const plain = (value) => (value && typeof value === "object" && !Array.isArray(value) ? value : {});

/** Hand a text to the user as a file. */
export function download(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name.replace(/[^\p{L}\p{N} ._-]+/gu, "-").slice(0, 100);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
