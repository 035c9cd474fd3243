/** One message: its text, its files, what the model thought, and what can be done with it. */

import { continueAnswer, liveAnswer, regenerate, sendInstead } from "../answering.js";
import { bytesText } from "../attachments.js";
import { copyText } from "../clipboard.js";
import { addVersion, change, countBelow, removeMessage, showVersion, shown } from "../conversations.js";
import { models } from "../models.js";
import { Drawing } from "../markdown.js";
import { goTo } from "../route.js";
import { siblings } from "../tree.js";
import { html, useLayoutEffect, useRef, useState } from "../ui.js";
import { confirmed } from "./dialogs.js";
import { Icon, IconButton } from "./icons.js";
import { rateText } from "./numbers.js";

/** Markdown that may still grow. */
export function Markdown({ text, growing = false }) {
  const root = useRef(null);
  const drawing = useRef(null);
  useLayoutEffect(() => {
    drawing.current ??= new Drawing(root.current);
    drawing.current.update(text, growing);
  }, [text, growing]);
  return html`<div class="markdown ${growing ? "growing" : ""}" ref=${root}></div>`;
}

/** @param {{message: import("../tree.js").Message, last: boolean}} props */
export function MessageView({ message, last }) {
  const [editing, setEditing] = useState(false);
  const live = liveAnswer(message);
  const user = message.role === "user";
  return html`<article class="message ${message.role} ${live ? "live" : ""}" data-id=${message.id}
    aria-label=${user ? "You" : "Answer"} aria-busy=${live ? "true" : undefined}>
    ${editing
      ? html`<${Editor} message=${message} close=${() => setEditing(false)} />`
      : html`${user ? html`<${Question} message=${message} />` : html`<${Reply} message=${message} live=${live} last=${last} />`}
        <${Actions} message=${message} live=${live} edit=${() => setEditing(true)} last=${last} />`}
  </article>`;
}

function Question({ message }) {
  return html`<div class="question">
    <${Files} attachments=${message.attachments ?? []} />
    ${message.content && html`<div class="question-text">${message.content}</div>`}
  </div>`;
}

/** The files of a message; each unfolds to its text. */
function Files({ attachments }) {
  if (!attachments.length) return null;
  return html`<div class="files">${attachments.map((file, place) => html`<details key=${place} class="file">
    <summary><${Icon} name="file" size=${16} /><span class="file-name">${file.name}</span>
      <span class="muted">${bytesText(file.size)}</span></summary>
    <pre tabindex="0">${file.text.length > 20_000 ? `${file.text.slice(0, 20_000)}…` : file.text}</pre>
  </details>`)}</div>`;
}

function Reply({ message, live, last }) {
  const content = live ? live.content : message.content;
  const reasoning = (live ? live.reasoning : message.reasoning) ?? "";
  const thinking = Boolean(live) && !content;
  return html`<div class="reply">
    ${reasoning && html`<${Thought} text=${reasoning} thinking=${thinking} />`}
    ${content && html`<${Markdown} text=${content} growing=${Boolean(live)} />`}
    ${live && html`<${Pending} live=${live} />`}
    ${!live && html`<${Ending} message=${message} last=${last} />`}
  </div>`;
}

function Thought({ text, thinking }) {
  const [open, setOpen] = useState(false);
  return html`<details class="thought" open=${open} onToggle=${(event) => setOpen(event.target.open)}>
    <summary><${Icon} name="thought" size=${16} />${thinking ? "Thinking…" : "Thoughts"}<${Icon} name="down" size=${16} />
      ${thinking && !open && html`<span class="thought-tail muted">${text.slice(-120).replace(/\s+/g, " ")}</span>`}
    </summary>
    ${open && html`<${Markdown} text=${text} growing=${thinking} />`}
  </details>`;
}

function Pending({ live }) {
  if (live.reconnecting) return html`<p class="pending" role="status">The connection broke; trying to read on…</p>`;
  if (live.content || live.reasoning) return null;
  const { progress } = live;
  const share = progress?.total ? Math.round((100 * progress.processed) / progress.total) : 0;
  const words = live.waiting ? "Waiting for the model…" : `Reading ${progress?.total ?? ""} tokens…`;
  return html`<div class="pending" role="status">
    <span class="pulse" aria-hidden="true"></span>${words}
    ${share > 0 && share < 100 && html`<progress max="100" value=${share} aria-label="Prompt read"></progress>`}
  </div>`;
}

const ENDINGS = {
  stopped: "Stopped.",
  length: "The answer reached its limit of tokens (n_predict).",
  full: "The context is full.",
};

function Ending({ message, last }) {
  const empty = !message.content && !message.reasoning ? "The answer is empty." : "";
  const full = contextFull(message);
  const cut = message.finish === "length" ? ENDINGS[full ? "full" : "length"] : empty;
  const words = message.error || ENDINGS[message.state] || cut;
  if (!words) return null;
  const bad = message.state === "failed" || message.state === "interrupted";
  const again = () => {
    if (full) change({ options: { ...shown.value.conversation.options, context_policy: "shift" } });
    return message.content ? continueAnswer(message) : regenerate(message);
  };
  const action = message.content ? "Continue" : "Try again";
  return html`<div class="ending ${bad ? "bad" : ""}" role=${bad ? "alert" : undefined}>
    ${bad && html`<${Icon} name="warning" size=${16} />`}<span>${words}</span>
    ${last && html`<button type="button" class="link-button" onClick=${again}>
      ${full ? `${action} without the oldest text` : action}</button>`}
  </div>`;
}

/** Whether an answer ended, or did not begin, because the context is full, and older text is not left out yet. */
function contextFull({ finish, code, state }) {
  const { n_predict: limit = -1, context_policy: policy = "error" } = shown.value.conversation.options;
  if (policy !== "error") return false;
  return state === "failed" ? code === "context_length_exceeded" : finish === "length" && limit < 0;
}

function Actions({ message, live, edit, last }) {
  if (live) {
    return html`<footer class="actions shown">
      <${Cost} timings=${live.timings} />
    </footer>`;
  }
  const answer = message.role === "assistant";
  return html`<footer class="actions ${last ? "shown" : ""}">
    <${Versions} message=${message} />
    ${message.content && html`<${CopyButton} text=${message.content} label=${answer ? "Copy answer" : "Copy message"} />`}
    ${(message.content || !answer) && html`<${IconButton} icon="edit" label=${answer ? "Edit answer" : "Edit message"} size=${16} onClick=${edit} />`}
    ${answer && html`<${IconButton} icon="retry" label="Answer again" size=${16} onClick=${() => regenerate(message)} />`}
    ${answer && last && message.content && html`<${IconButton} icon="play" label="Continue answer" size=${16}
      onClick=${() => continueAnswer(message)} />`}
    <${IconButton} icon="trash" label="Delete message" size=${16} onClick=${() => removeAsked(message)} />
    <${Cost} timings=${message.timings} model=${answer ? message.model : ""} />
  </footer>`;
}

function Versions({ message }) {
  const all = siblings(shown.value.messages, message);
  if (all.length < 2) return null;
  const at = all.findIndex((one) => one.id === message.id);
  const step = (by) => () => showVersion(all[at + by]);
  return html`<span class="versions" role="group" aria-label="Versions">
    <${IconButton} icon="left" label="Earlier version" size=${16} disabled=${at === 0} onClick=${step(-1)} />
    <span aria-label=${`Version ${at + 1} of ${all.length}`}>${at + 1} / ${all.length}</span>
    <${IconButton} icon="right" label="Later version" size=${16} disabled=${at === all.length - 1} onClick=${step(1)} />
  </span>`;
}

function CopyButton({ text, label }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<${IconButton} icon=${done ? "check" : "copy"} label=${done ? "Copied" : label} size=${16} onClick=${copy} />`;
}

/** What an answer cost: tokens, and how many a second. */
function Cost({ timings, model = "" }) {
  if (!timings?.predicted_n) return null;
  const { predicted_n: made, predicted_per_second: rate, prompt_n: read, cache_n: cached, prompt_ms: wait } = timings;
  const whole = `${read + cached} tokens read (${cached} known before) in ${Math.round(wait)} ms, ${made} written`;
  const several = model && models.value.length > 1;
  return html`<span class="cost" title=${model ? `${model}: ${whole}` : whole}>
    ${several ? `${model} · ` : ""}${made} tokens${rate ? ` · ${rateText(rate)}` : ""}</span>`;
}

async function removeAsked(message) {
  const count = countBelow(message);
  const text = count > 1 ? `The message and ${count - 1} more that follow it are deleted.` : "The message is deleted.";
  if (!(await confirmed({ title: "Delete message?", text, action: "Delete" }))) return;
  await removeMessage(message);
  if (shown.value.conversation.leaf === null) goTo("/"); // it was the first one
}

function Editor({ message, close }) {
  const [text, setText] = useState(message.content);
  const area = useRef(null);
  const user = message.role === "user";
  useLayoutEffect(() => {
    area.current.focus();
    area.current.setSelectionRange(text.length, text.length);
  }, []);
  const submit = (event) => {
    event?.preventDefault();
    if (!text.trim() && !message.attachments?.length) return;
    close();
    if (user) sendInstead(message, text.trim());
    else if (text !== message.content) addVersion(message, text);
  };
  const keys = (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) submit(event);
    else return;
    event.preventDefault();
  };
  return html`<form class="editor" onSubmit=${submit} onKeyDown=${keys}>
    <textarea ref=${area} aria-label=${user ? "Edit message" : "Edit answer"} value=${text}
      onInput=${(event) => setText(event.target.value)}></textarea>
    <p class="muted">${user ? "What followed stays as another version." : "The answer as it was stays as another version."}</p>
    <footer>
      <button type="button" class="button" onClick=${close}>Cancel</button>
      <button type="submit" class="button primary">${user ? "Send" : "Keep"}</button>
    </footer>
  </form>`;
}
