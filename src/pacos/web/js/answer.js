/**
 * One answer as it comes: asked for, read, read on where the connection broke, stopped. Knows no conversation and no
 * view.
 *
 * @typedef {object} Answer
 * @property {string} content
 * @property {string} reasoning
 * @property {ToolCall[]} calls
 * @property {string} finish  "" until it ended
 * @property {object | null} timings
 * @property {{total: number, cache: number, processed: number} | null} progress  of the prompt
 * @property {boolean} waiting  nothing has come yet
 * @property {boolean} reconnecting
 * @property {number} bytes
 * @property {string} model  that answers
 *
 * @typedef {{id: string, name: string, arguments: string}} ToolCall
 */

import { events, request, sentence, ServerError } from "./server.js";

const PAUSES_MS = [300, 700, 1500, 3000, 5000, 5000]; // between attempts to reach a server that went away

/** @returns {Answer} */
export function emptyAnswer(begun = {}) {
  return {
    content: "",
    reasoning: "",
    calls: [],
    finish: "",
    timings: null,
    progress: null,
    waiting: true,
    reconnecting: false,
    bytes: 0,
    model: "",
    ...begun,
  };
}

/** The answer broke off: the server no longer has its stream. */
export class Interrupted extends Error {}

/**
 * Ask, and follow the answer to its end. `changed` is called with the same object at every event.
 * Throws ServerError for a refusal, Interrupted where the rest is lost, AbortError when `abort` was used.
 * @param {object} body  of /v1/chat/completions
 * @param {{stream: string, answer: Answer, changed: (answer: Answer) => void, abort: AbortSignal}} how
 */
export async function ask(body, how) {
  const sent = {
    ...body,
    stream: true,
    stream_options: { include_usage: true },
    timings_per_token: true,
    return_progress: true,
  };
  const response = await request("/v1/chat/completions", {
    body: sent,
    headers: { "X-Conversation-Id": how.stream },
    signal: how.abort,
  });
  if (!(await follow(response, how))) await readOn(how);
}

/** Read an answer that began earlier, such as before this page was loaded. Throws as `ask`. */
export async function readOn(how) {
  const { answer, changed, abort } = how;
  answer.reconnecting = true;
  changed(answer);
  for (const pause of [0, ...PAUSES_MS]) {
    await sleep(pause, abort);
    const query = new URLSearchParams({ conv_id: how.stream, from: String(answer.bytes) });
    try {
      const response = await request(`/v1/stream?${query}`, { signal: abort });
      answer.reconnecting = false;
      if (await follow(response, how)) return;
      answer.reconnecting = true;
    } catch (error) {
      if (!(error instanceof ServerError) || error.fatal) throw error;
      if (error.status === 404 || error.status === 400) {
        throw new Interrupted("The server was started anew before the answer was complete.");
      }
    }
    changed(answer);
  }
  throw new Interrupted("The server went away before the answer was complete.");
}

/** Read events up to the end of the connection; whether the answer is complete. */
async function follow(response, { answer, changed }) {
  let complete = false;
  try {
    for await (const event of events(response, answer.bytes)) {
      answer.bytes = event.bytes;
      answer.waiting = false;
      complete ||= event.data === "[DONE]";
      if (complete) continue; // to the end, so that the connection serves again
      if (event.name === "error") throw refusal(event.data);
      take(answer, JSON.parse(event.data));
      changed(answer);
    }
  } catch (error) {
    if (error.name === "AbortError" || error.fatal) throw error;
    return complete; // the connection broke
  }
  return complete;
}

function refusal(data) {
  const { message = "The answer failed.", code = "" } = JSON.parse(data).error ?? {};
  const error = new ServerError(sentence(message), { status: 500, code });
  error.fatal = true; // told by the stream itself: no use to read on
  return error;
}

function take(answer, chunk) {
  answer.model = chunk.model ?? answer.model;
  if (chunk.prompt_progress) answer.progress = chunk.prompt_progress;
  if (chunk.timings) answer.timings = chunk.timings;
  for (const { delta = {}, finish_reason: finish } of chunk.choices ?? []) {
    answer.content += delta.content ?? "";
    answer.reasoning += delta.reasoning_content ?? "";
    for (const piece of delta.tool_calls ?? []) takeCall(answer.calls, piece);
    if (finish) answer.finish = finish;
  }
}

function takeCall(calls, { index = 0, id, function: called = {} }) {
  calls[index] ??= { id: "", name: "", arguments: "" };
  const call = calls[index];
  call.id = id ?? call.id;
  call.name += called.name ?? "";
  call.arguments += called.arguments ?? "";
}

/** End an answer on the server; it would go on without us. @param {string} stream */
export async function stopStream(stream) {
  const query = new URLSearchParams({ conv_id: stream });
  await request(`/v1/stream?${query}`, { method: "DELETE", ask: false }).catch(() => {});
}

function sleep(milliseconds, abort) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    abort.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("stopped", "AbortError"));
    });
  });
}
