/** Requests to the server that gave this page out: the API key, errors, and streams of events. */

import { signal } from "./ui.js";

const KEY = "pacos.key";

/** An answer that says no. `status` is 0 where the server was not reached. */
export class ServerError extends Error {
  /** @param {string} message @param {{status?: number, code?: string, field?: string}} [more] */
  constructor(message, { status = 0, code = "", field = "" } = {}) {
    super(message);
    this.name = "ServerError";
    this.status = status;
    this.code = code;
    this.field = field;
  }
}

/** The question for an API key while it is open: whether one was refused, and how to answer it. */
export const keyQuestion = signal(null);

/** Whether the server answered the last request, however it answered. */
export const reachable = signal(true);

export function apiKey() {
  return localStorage.getItem(KEY) ?? "";
}

/** Remember an API key; an empty one is forgotten. */
export function setApiKey(key) {
  if (key) localStorage.setItem(KEY, key);
  else localStorage.removeItem(KEY);
}

let asked = null;

/** Ask for a key; requests that need one at the same time share the question. Resolves to whether one was given. */
function askForKey(refused) {
  asked ??= new Promise((resolve) => {
    keyQuestion.value = {
      refused,
      answer: (key) => {
        if (key) setApiKey(key);
        keyQuestion.value = null;
        asked = null;
        resolve(Boolean(key));
      },
    };
  });
  return asked;
}

/** A path of the server as an address; the page may lie below a folder. */
export function address(path) {
  return new URL(`.${path}`, document.baseURI);
}

/**
 * Send a request; the key is asked for where it is needed. Throws ServerError.
 * @param {string} path
 * @param {{method?: string, body?: unknown, headers?: Object<string, string>, signal?: AbortSignal, ask?: boolean}} [how]
 * @returns {Promise<Response>}
 */
export async function request(path, { method, body, headers = {}, signal: abort, ask = true } = {}) {
  for (;;) {
    const key = apiKey();
    const response = await fetch(address(path), {
      method: method ?? (body === undefined ? "GET" : "POST"),
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: {
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(key ? { Authorization: `Bearer ${key}` } : {}),
        ...headers,
      },
      signal: abort,
      credentials: "omit",
    }).catch((error) => {
      if (error.name === "AbortError") throw error;
      reachable.value = false;
      throw new ServerError("The server cannot be reached.");
    });
    reachable.value = true;
    if (response.ok) return response;
    const changed = apiKey() !== key; // while this one was under way
    if (response.status === 401 && (changed || (ask && (await askForKey(key !== ""))))) continue;
    throw await problemOf(response);
  }
}

async function problemOf(response) {
  let found = {};
  try {
    found = (await response.json()).error ?? {};
  } catch {
    // Whatever stands between may answer in its own words.
  }
  const message = found.message || `The server answered ${response.status} ${response.statusText}`;
  return new ServerError(sentence(message), { status: response.status, code: found.code ?? "", field: found.param ?? "" });
}

/** A message with a capital at its start and a stop at its end. */
export function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?)]$/.test(whole) ? whole : `${whole}.`;
}

/** @param {string} path @param {object} [how] */
export async function getJson(path, how) {
  return (await request(path, how)).json();
}

/** @param {string} path @param {unknown} body @param {object} [how] */
export async function postJson(path, body, how) {
  return (await request(path, { ...how, body })).json();
}

/**
 * The server-sent events of a response. `bytes` counts what belongs to the stream up to the end of the event: comments
 * that keep a connection alive do not, the server does not count them when it is asked for the rest.
 * @param {Response} response
 * @param {number} [bytes]  how many came before
 * @returns {AsyncGenerator<{name: string, data: string, bytes: number}>}
 */
export async function* events(response, bytes = 0) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let text = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const whole = text.slice(0, end + 2);
        text = text.slice(end + 2);
        if (whole.startsWith(":")) continue;
        bytes += encoder.encode(whole).length;
        yield { ...parsedEvent(whole), bytes };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsedEvent(text) {
  const found = { name: "message", data: [] };
  for (const line of text.split("\n")) {
    if (line.startsWith("data:")) found.data.push(line.slice(5).trimStart());
    else if (line.startsWith("event:")) found.name = line.slice(6).trim();
  }
  return { name: found.name, data: found.data.join("\n") };
}
