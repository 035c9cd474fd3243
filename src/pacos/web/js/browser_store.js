/**
 * Conversations in this browser's IndexedDB. `server_store.js` keeps them on the server, with the same functions.
 *
 * @typedef {object} Conversation
 * @property {string} id
 * @property {string} title
 * @property {number} created  milliseconds since 1970
 * @property {number} updated
 * @property {string} model  "" is the server's first
 * @property {string} system
 * @property {Object<string, unknown>} options  sent with each message
 * @property {string | null} leaf  the last message of the branch that is shown
 */

let opening = null;

function database() {
  opening ??= new Promise((resolve, reject) => {
    const wanted = indexedDB.open("pacos", 1);
    wanted.onupgradeneeded = () => {
      wanted.result.createObjectStore("conversations", { keyPath: "id" });
      const messages = wanted.result.createObjectStore("messages", { keyPath: "id" });
      messages.createIndex("conversation", "conversation");
    };
    wanted.onsuccess = () => resolve(wanted.result);
    wanted.onerror = () => reject(wanted.error);
  });
  return opening;
}

/** Run `work` on both stores in one transaction; resolves to its result once all is written. */
async function transaction(mode, work) {
  const open = await database();
  return new Promise((resolve, reject) => {
    const one = open.transaction(["conversations", "messages"], mode);
    let result;
    one.oncomplete = () => resolve(result);
    one.onabort = one.onerror = () => reject(one.error ?? new Error("The browser could not keep this."));
    result = work(one.objectStore("conversations"), one.objectStore("messages"), (value) => (result = value));
  });
}

function read(work) {
  return transaction("readonly", (conversations, messages, give) => {
    work(conversations, messages).onsuccess = (event) => give(event.target.result);
  });
}

/** All conversations, the latest first. @returns {Promise<Conversation[]>} */
export async function list() {
  const found = await read((conversations) => conversations.getAll());
  return found.sort((a, b) => b.updated - a.updated);
}

/** The messages of a conversation, oldest first. @param {string} id @returns {Promise<import("./tree.js").Message[]>} */
export async function messagesOf(id) {
  const found = await read((_, messages) => messages.index("conversation").getAll(id));
  return found.sort((a, b) => a.created - b.created);
}

/** Write; what is asked for is written even if the page is left at once. */
function write(work) {
  return transaction("readwrite", (conversations, messages) => {
    work(conversations, messages);
    conversations.transaction.commit();
  });
}

/** Keep a conversation and some of its messages. @param {Conversation} conversation @param {object[]} changed */
export function save(conversation, changed = []) {
  return write((conversations, messages) => {
    conversations.put(conversation);
    for (const one of changed) messages.put(one);
  });
}

/** Forget some messages. @param {Conversation} conversation as it is without them @param {string[]} ids */
export function removeMessages(conversation, ids) {
  return write((conversations, messages) => {
    conversations.put(conversation);
    for (const id of ids) messages.delete(id);
  });
}

/** Forget a conversation. @param {string} id */
export function remove(id) {
  return transaction("readwrite", (conversations, messages) => {
    conversations.delete(id);
    messages.index("conversation").getAllKeys(id).onsuccess = (event) => {
      for (const one of event.target.result) messages.delete(one);
    };
  });
}

/** The ids of conversations whose title or messages have all these words. @param {string} text */
export async function search(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const texts = new Map((await list()).map((one) => [one.id, [one.title]]));
  await transaction("readonly", (_, messages) => {
    messages.openCursor().onsuccess = (event) => {
      const cursor = event.target.result;
      if (!cursor) return;
      texts.get(cursor.value.conversation)?.push(cursor.value.content);
      cursor.continue();
    };
  });
  return [...texts].filter(([, found]) => contains(found.join("\n").toLowerCase(), words)).map(([id]) => id);
}

function contains(text, words) {
  return words.every((word) => text.includes(word));
}
