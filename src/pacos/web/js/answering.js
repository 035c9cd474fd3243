/** Answers in conversations: asked for, written down as they come, stopped, continued, taken up after a reload. */

import { ask, emptyAnswer, Interrupted, readOn, stopStream } from "./answer.js";
import { withAttachments } from "./attachments.js";
import { addQuestion, changeOf, conversations, current, keeping, shown } from "./conversations.js";
import { usedModel } from "./models.js";
import { branch, newId } from "./tree.js";
import { postJson, request } from "./server.js";
import { signal } from "./ui.js";

const KEEP_MS = 1000; // how often a growing answer is written down

/** Answers under way, by message: the signal that views read, and how to stop it. */
const running = new Map();

/** How many answers are under way; views that show whether one is read it. */
export const runningCount = signal(0);

/** The answer of a message while it is under way. @returns {import("./answer.js").Answer | null} */
export function liveAnswer(message) {
  void runningCount.value; // the view is drawn anew when one begins or ends
  return running.get(message.id)?.answer.value ?? null;
}

/** The message of the shown conversation that is being answered. */
export function runningMessage() {
  void runningCount.value;
  return shown.value.messages.find((one) => running.has(one.id)) ?? null;
}

/** Send what the user wrote, and answer it. */
export function send(content, attachments = []) {
  return answerTo(addQuestion(shown.value.conversation.leaf, content, attachments));
}

/** Send another version of a message; the old one and what followed stay on their branch. */
export function sendInstead(message, content) {
  return answerTo(addQuestion(message.parent, content, message.attachments ?? []));
}

/** Answer again; the earlier answer stays as a version. */
export function regenerate(message) {
  const question = shown.value.messages.find((one) => one.id === message.parent);
  return question ? answerTo(question) : undefined;
}

async function answerTo(question) {
  const { conversation } = shown.value;
  const message = {
    id: newId(),
    conversation: conversation.id,
    parent: question.id,
    role: "assistant",
    content: "",
    reasoning: "",
    created: Math.max(Date.now(), question.created + 1),
    state: "running",
    model: conversation.model,
    stream: newId(),
    bytes: 0,
  };
  await run(conversation, message, (how) => ask(body(conversation, question.id), how));
}

/** Go on where an answer ended. */
export async function continueAnswer(message) {
  const { conversation } = shown.value;
  const wanted = body(conversation, message.content ? message.id : message.parent);
  if (message.content) wanted.chat_template_kwargs = { continue_final_message: true };
  const next = { ...message, state: "running", error: "", code: "", finish: "", stream: newId(), bytes: 0 };
  await run(conversation, next, (how) => ask(wanted, how));
}

/** Read on what was under way when the page was left. */
export function takeUp(conversation, message) {
  return run(conversation, message, readOn);
}

/** What is sent for the branch that ends with a message. */
export function body(conversation, leaf) {
  const system = conversation.system.trim();
  const messages = branch(shown.value.messages, leaf)
    .filter((one) => one.role === "user" || (one.role === "assistant" && (one.content || one.id === leaf)))
    .map(({ role, content, attachments }) => ({ role, content: withAttachments(content, attachments) }));
  if (system) messages.unshift({ role: "system", content: system });
  return { ...conversation.options, model: usedModel.value?.id ?? (conversation.model || "default"), messages };
}

async function run(conversation, message, work) {
  const abort = new AbortController();
  const begun = emptyAnswer({ content: message.content, reasoning: message.reasoning ?? "", bytes: message.bytes ?? 0 });
  const one = { answer: signal(begun), stop: () => abort.abort(), stream: message.stream };
  running.set(message.id, one);
  current.set(message.id, message);
  runningCount.value += 1;
  const keeper = keepGrowing(conversation, message, begun);
  const kept = changeOf(conversation, { leaf: message.id, updated: Date.now() }, [message]);
  let end = { state: "done" };
  try {
    await work({ stream: message.stream, answer: begun, changed: drawer(one), abort: abort.signal });
    if (begun.finish === "cancelled") end = { state: "stopped" };
  } catch (error) {
    end = ended(error);
    if (end.state === "stopped") stopStream(message.stream);
  }
  clearInterval(keeper);
  await kept;
  const final = { ...grown(message, begun), ...end };
  running.delete(message.id);
  current.delete(message.id);
  if (stillThere(conversation, final)) await changeOf(conversation, { updated: Date.now() }, [final]);
  runningCount.value -= 1;
}

/** Whether nobody removed the message meanwhile. */
function stillThere(conversation, message) {
  const { conversation: open, messages } = shown.value;
  return open.id === conversation.id
    ? messages.some((one) => one.id === message.id)
    : conversations.value.some((one) => one.id === conversation.id);
}

function ended(error) {
  if (error.name === "AbortError") return { state: "stopped" };
  if (error instanceof Interrupted) return { state: "interrupted", error: error.message };
  return { state: "failed", error: error.message, code: error.code };
}

function grown(message, { content, reasoning, finish, timings, bytes, model }) {
  return { ...message, content, reasoning, finish, timings, bytes, model: model || message.model };
}

/** Draw at most once a frame; a hidden page draws nothing until it is seen. */
function drawer(one) {
  let waiting = false;
  return (answer) => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      one.answer.value = { ...answer };
    });
  };
}

function keepGrowing(conversation, message, answer) {
  let bytes = answer.bytes;
  return setInterval(() => {
    if (answer.bytes === bytes) return;
    bytes = answer.bytes;
    const grownNow = grown(message, answer);
    current.set(message.id, grownNow);
    const known = conversations.value.find((one) => one.id === conversation.id);
    if (known) keeping.store.save(known, [grownNow]).catch(() => {});
  }, KEEP_MS);
}

/** Stop the answer of a message; what has come is kept. */
export function stop(message) {
  running.get(message.id)?.stop();
}

/** Stop all answers of a conversation. @param {string} conversation  its id */
export function stopAll(conversation) {
  for (const [id, one] of running) if (current.get(id)?.conversation === conversation) one.stop();
}

/** Take up answers of the shown conversation whose page was left while they were under way. */
export async function takeUpAnswers() {
  const { conversation, messages } = shown.value;
  const left = messages.filter((one) => one.state === "running" && !running.has(one.id));
  if (!left.length) return;
  const names = left.map((one) => one.stream ?? "");
  const found = await postJson("/v1/streams/lookup", { conversation_ids: names }).catch(() => []);
  const there = new Set(found.map((one) => one.conversation_id));
  for (const message of left) {
    if (there.has(message.stream)) {
      takeUp(conversation, message);
      continue;
    }
    const error = "The page was left, and the server no longer has the rest of this answer.";
    await changeOf(conversation, {}, [{ ...message, state: "interrupted", error }]);
  }
}

/** The tokens of a branch and a draft, as the server counts them. */
export async function countTokens(conversation, leaf, draft, abort) {
  const wanted = body(conversation, leaf);
  if (draft) wanted.messages = [...wanted.messages, { role: "user", content: draft }];
  if (!wanted.messages.length) return 0;
  const how = { body: wanted, signal: abort, ask: false };
  const found = await (await request("/v1/chat/completions/input_tokens", how)).json();
  return found.input_tokens;
}
