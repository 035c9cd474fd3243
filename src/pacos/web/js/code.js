/** Blocks of code: a frame with the language and a button that copies, colours by highlight.js at the first one. */

import { copyText } from "./clipboard.js";

const OPEN_CHARACTERS_MAX = 4000; // longer ones get their colours when they are finished
const CHARACTERS_MAX = 200_000;

let highlighter = null;
let loading = null;

function load() {
  loading ??= import("../vendor/highlightjs-cdn-assets-11.12.0/highlight.min.js").then((found) => {
    highlighter = found.default;
  });
  return loading;
}

/**
 * Frame a block of code.
 * @param {HTMLElement} code  in its `pre` @param {boolean} open  whether more may come
 */
export function drawCode(code, open) {
  const language = languageOf(code);
  const frame = document.createElement("div");
  frame.className = "code-frame";
  const head = document.createElement("div");
  head.className = "code-head";
  const name = document.createElement("span");
  name.textContent = language || "text";
  head.append(name, copyButton(code));
  code.parentElement.replaceWith(frame);
  const body = document.createElement("pre");
  body.tabIndex = 0; // wide ones are scrolled with keys too
  body.append(code);
  frame.append(head, body);
  if (language && code.textContent.length < (open ? OPEN_CHARACTERS_MAX : CHARACTERS_MAX)) colour(code, language);
}

/** Write on in a framed block of code, in its place. @param {HTMLElement} element  that holds it @param {string} text */
export function growCode(element, text) {
  const code = element.querySelector("code");
  code.textContent = text;
  const language = languageOf(code);
  if (language && text.length < OPEN_CHARACTERS_MAX) colour(code, language);
}

function languageOf(code) {
  return [...code.classList].find((name) => name.startsWith("language-"))?.slice(9) ?? "";
}

function colour(code, language) {
  if (!highlighter) {
    load().then(() => colour(code, language), () => {});
    return;
  }
  if (!highlighter.getLanguage(language)) return;
  code.innerHTML = highlighter.highlight(code.textContent, { language, ignoreIllegals: true }).value;
}

function copyButton(code) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "code-copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy code");
  button.addEventListener("click", async () => {
    await copyText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}
