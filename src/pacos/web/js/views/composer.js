/** The box that messages are written in: files, sending, stopping, and how much of the context is used. */

import { countTokens, runningMessage, send, stop } from "../answering.js";
import { attached, bytesText, LONG_PASTE_CHARACTERS, withAttachments } from "../attachments.js";
import { notice, shown, shownBranch } from "../conversations.js";
import { contextTokens, usedModel } from "../models.js";
import { preferences } from "../preferences.js";
import { html, signal, useEffect, useRef, useState } from "../ui.js";
import { Icon, IconButton } from "./icons.js";
import { countText } from "./numbers.js";

const COUNT_PAUSE_MS = 500;

/** The text and files of the message that is being written. */
const draft = signal({ text: "", files: [] });
/** The names of files that are being read. */
const reading = signal([]);

/** Put a text into the box. */
export function compose(text) {
  draft.value = { ...draft.value, text };
  focusComposer();
}

export function focusComposer() {
  document.querySelector("#composer")?.focus();
}

async function addFiles(files) {
  for (const file of files) {
    reading.value = [...reading.value, file.name];
    try {
      const read = await attached(file);
      draft.value = { ...draft.value, files: [...draft.value.files, read] };
    } catch (error) {
      notice(error.message);
    }
    reading.value = reading.value.toSpliced(reading.value.indexOf(file.name), 1);
  }
}

function submit() {
  const { text, files } = draft.value;
  if ((!text.trim() && !files.length) || reading.value.length || runningMessage()) return;
  draft.value = { text: "", files: [] };
  send(text.trim(), files);
}

export function Composer() {
  const area = useRef(null);
  const { text, files } = draft.value;
  useEffect(() => {
    const writing = document.activeElement?.matches("input, textarea, select");
    if (matchMedia("(pointer: fine)").matches && !writing) area.current.focus();
  }, []);
  useEffect(() => {
    area.current.style.height = "auto";
    area.current.style.height = `${area.current.scrollHeight}px`;
  }, [text]);
  const running = runningMessage();
  const dropping = useDropping();
  return html`<form class="composer ${dropping ? "dropping" : ""}" onSubmit=${(event) => (event.preventDefault(), submit())}>
    ${(files.length > 0 || reading.value.length > 0) && html`<${DraftFiles} files=${files} />`}
    <textarea id="composer" ref=${area} rows="1" placeholder=${dropping ? "Drop files here" : "Write a message"}
      aria-label="Message" value=${text} onInput=${(event) => (draft.value = { ...draft.value, text: event.target.value })}
      onKeyDown=${keys} onPaste=${paste}></textarea>
    <div class="composer-row">
      <${FilePicker} />
      <${Meter} />
      ${running
        ? html`<button type="button" class="send" aria-label="Stop the answer" title="Stop (Esc)"
            onClick=${() => stop(running)}><${Icon} name="stop" /></button>`
        : html`<button type="submit" class="send" aria-label="Send" title="Send (Enter)"
            disabled=${(!text.trim() && !files.length) || reading.value.length > 0}><${Icon} name="send" size=${20} /></button>`}
    </div>
  </form>`;
}

function keys(event) {
  const { key, isComposing, shiftKey, altKey, ctrlKey, metaKey } = event;
  if (key === "Enter" && !isComposing && !shiftKey && !altKey) {
    const sends = preferences.value.enterSends || ctrlKey || metaKey;
    if (!sends) return;
    event.preventDefault();
    submit();
  } else if (key === "ArrowUp" && !draft.value.text && !shiftKey) {
    const last = [...document.querySelectorAll(".message.user")].at(-1);
    last?.querySelector('[aria-label="Edit message"]')?.click();
    if (last) event.preventDefault();
  }
}

function paste(event) {
  const { files } = event.clipboardData;
  const text = event.clipboardData.getData("text/plain");
  if (files.length) addFiles(files);
  else if (text.length > LONG_PASTE_CHARACTERS) addFiles([new File([text], "pasted text.txt", { type: "text/plain" })]);
  else return;
  event.preventDefault();
}

function FilePicker() {
  const input = useRef(null);
  const chosen = (event) => {
    addFiles([...event.target.files]);
    event.target.value = "";
  };
  return html`<input ref=${input} type="file" multiple hidden onChange=${chosen} aria-label="Files" />
    <${IconButton} icon="clip" label="Attach files: text or PDF" onClick=${() => input.current.click()} />`;
}

function DraftFiles({ files }) {
  const remove = (place) => () => {
    draft.value = { ...draft.value, files: files.filter((_, other) => other !== place) };
  };
  return html`<ul class="draft-files">${files.map((file, place) => html`<li key=${place} class="chip">
    <${Icon} name="file" size=${16} /><span class="file-name">${file.name}</span>
    <span class="muted">${bytesText(file.size)}</span>
    <${IconButton} icon="close" label=${`Remove ${file.name}`} size=${14} onClick=${remove(place)} />
  </li>`)}${reading.value.map((name, place) => html`<li key=${`reading-${place}`} class="chip">
    <span class="pulse" aria-hidden="true"></span><span class="file-name">${name}</span><span class="muted">is being read</span>
  </li>`)}</ul>`;
}

/** Whether files are being dragged over the page; what is dropped anywhere goes along. */
function useDropping() {
  const [over, setOver] = useState(false);
  useEffect(() => {
    let depth = 0;
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    const heard = {
      dragenter: (event) => hasFiles(event) && setOver(++depth > 0),
      dragleave: (event) => hasFiles(event) && setOver(--depth > 0),
      dragover: (event) => hasFiles(event) && event.preventDefault(),
      drop: (event) => {
        if (!hasFiles(event)) return;
        event.preventDefault();
        depth = 0;
        setOver(false);
        addFiles([...event.dataTransfer.files]);
      },
    };
    for (const [name, hear] of Object.entries(heard)) addEventListener(name, hear);
    return () => {
      for (const [name, hear] of Object.entries(heard)) removeEventListener(name, hear);
    };
  }, []);
  return over;
}

/** How many tokens of the context the conversation takes, the draft included. */
function Meter() {
  const { text, files } = draft.value;
  const [count, setCount] = useState(null);
  const { conversation } = shown.value;
  const running = runningMessage();
  const last = shownBranch.value.at(-1);
  const model = usedModel.value;
  useEffect(() => {
    if (running || !model?.loaded) return undefined;
    const abort = new AbortController();
    const timer = setTimeout(() => {
      countTokens(conversation, conversation.leaf, withAttachments(text, files), abort.signal).then(setCount, () => {});
    }, COUNT_PAUSE_MS);
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [text, files, last?.id, last?.content, Boolean(running), conversation.system, model?.id, model?.loaded]);
  const whole = contextTokens.value;
  if (!whole || count === null) return html`<span class="meter"></span>`;
  const share = Math.min(1, count / whole);
  const over = count >= whole;
  const advice = "shorten the message, begin a new conversation, or let context_policy among the options leave out old text";
  const words = `${count} of ${whole} tokens of the context${over ? `: too many; ${advice}` : ""}`;
  return html`<span class="meter ${over ? "over" : ""}" title=${words}>
    <meter min="0" max="1" high="0.9" value=${share} aria-label="Context used">${words}</meter>
    <span class="muted">${countText(count)} / ${countText(whole)}</span>
  </span>`;
}
