/**
 * Messages as a tree: each one names its parent, a branch is the way from a leaf up to the root. Pure functions.
 *
 * @typedef {object} Message
 * @property {string} id
 * @property {string} conversation
 * @property {string | null} parent
 * @property {"user" | "assistant"} role
 * @property {string} content
 * @property {string} [reasoning]
 * @property {Attachment[]} [attachments]
 * @property {number} created  milliseconds since 1970
 * @property {"done" | "running" | "stopped" | "interrupted" | "failed"} state
 * @property {string} [finish]  why the answer ended, in the server's word
 * @property {string} [error]
 * @property {string} [code]  the server's word for the error
 * @property {string} [model]
 * @property {object} [timings]  what the answer cost, in llama-server's names
 * @property {string} [stream]  under which name the server keeps the stream
 * @property {number} [bytes]  how much of that stream has come
 *
 * @typedef {{name: string, size: number, text: string}} Attachment
 */

/** The messages from the root to a leaf. @param {Message[]} messages @param {string | null} leaf */
export function branch(messages, leaf) {
  const byId = new Map(messages.map((one) => [one.id, one]));
  const found = new Set(); // a damaged tree may go in circles
  for (let one = byId.get(leaf ?? ""); one && !found.has(one); one = byId.get(one.parent ?? "")) found.add(one);
  return [...found].reverse();
}

/** Messages with the same parent, oldest first. @param {Message[]} messages @param {Message} message */
export function siblings(messages, message) {
  return messages.filter((one) => one.parent === message.parent).sort((a, b) => a.created - b.created);
}

/** The end of the latest branch below a message. @param {Message[]} messages @param {string} id */
export function latestLeaf(messages, id) {
  const latest = new Map();
  for (const one of [...messages].sort((a, b) => a.created - b.created)) latest.set(one.parent, one.id);
  let leaf = id;
  for (const seen = new Set(); latest.has(leaf) && !seen.has(leaf); leaf = latest.get(leaf)) seen.add(leaf);
  return leaf;
}

/** A message and all below it. @param {Message[]} messages @param {string} id */
export function below(messages, id) {
  const found = new Set([id]);
  for (let size = 0; size !== found.size; ) {
    size = found.size;
    for (const one of messages) if (one.parent !== null && found.has(one.parent)) found.add(one.id);
  }
  return found;
}

/** The first line of a text, as a title. @param {string} text */
export function titleOf(text) {
  const line = text.trim().split("\n", 1)[0].replace(/\s+/g, " ").replace(/^[#>*\s-]+/, "");
  return line.length > 60 ? `${line.slice(0, 59).trimEnd()}…` : line || "New conversation";
}

/** A random id; pages that came over plain HTTP from another machine have no crypto.randomUUID. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
