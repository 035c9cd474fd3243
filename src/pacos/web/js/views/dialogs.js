/** Dialogs: a question that is answered yes or no, the API key, the sheet of shortcuts. */

import { apiKey, keyQuestion, setApiKey } from "../server.js";
import { SHORTCUTS } from "../shortcuts.js";
import { html, signal, useLayoutEffect, useRef, useState } from "../ui.js";
import { IconButton } from "./icons.js";

const question = signal(null);
export const helpShown = signal(false);

/**
 * Ask before something is done. Resolves to whether it was confirmed.
 * @param {{title: string, text: string, action: string}} what
 */
export function confirmed(what) {
  return new Promise((resolve) => {
    question.value = {
      ...what,
      answer: (yes) => {
        question.value = null;
        resolve(yes);
      },
    };
  });
}

/** Ask for the API key though no request wants one yet. */
export function changeKey() {
  keyQuestion.value = {
    refused: false,
    answer: (key) => {
      if (key !== null) setApiKey(key);
      keyQuestion.value = null;
      if (key !== null) location.reload();
    },
  };
}

function Dialog({ title, close, children, class: more = "" }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    const dialog = element.current;
    dialog.showModal();
    return () => dialog.close(); // which gives the focus back
  }, []);
  const outside = (event) => event.target === element.current && close();
  return html`<dialog ref=${element} class=${more} aria-labelledby="dialog-title" onClick=${outside}
    onCancel=${(event) => (event.preventDefault(), close())}>
    <div class="dialog-body">
      <header><h2 id="dialog-title">${title}</h2><${IconButton} icon="close" label="Close" onClick=${close} /></header>
      ${children}
    </div>
  </dialog>`;
}

function Question() {
  const { title, text, action, answer } = question.value;
  return html`<${Dialog} title=${title} close=${() => answer(false)}>
    <p>${text}</p>
    <footer>
      <button type="button" class="button" onClick=${() => answer(false)}>Cancel</button>
      <button type="button" class="button danger" autofocus onClick=${() => answer(true)}>${action}</button>
    </footer>
  <//>`;
}

function KeyDialog() {
  const { refused, answer } = keyQuestion.value;
  const [key, setKey] = useState("");
  const submit = (event) => {
    event.preventDefault();
    answer(key.trim());
  };
  const known = apiKey() !== "";
  return html`<${Dialog} title="API key" close=${() => answer(null)} class="key-dialog">
    <form onSubmit=${submit}>
      <p>${refused
        ? html`<strong class="error-text" role="alert">The server does not know this key.</strong> Check it and try again.`
        : "This server answers only those who have a key. It is kept in this browser and sent to this server alone."}</p>
      <label class="field"><span>Key</span>
        <input type="password" autofocus autocomplete="off" spellcheck="false" value=${key}
          onInput=${(event) => setKey(event.target.value)} /></label>
      <footer>
        ${known && html`<button type="button" class="button" onClick=${() => (setApiKey(""), answer(""))}>Forget</button>`}
        <button type="button" class="button" onClick=${() => answer(null)}>Cancel</button>
        <button type="submit" class="button primary" disabled=${!key.trim()}>Use key</button>
      </footer>
    </form>
  <//>`;
}

function Help() {
  return html`<${Dialog} title="Keyboard shortcuts" close=${() => (helpShown.value = false)} class="help-dialog">
    <dl class="shortcuts">
      ${SHORTCUTS.map(({ shown, what }) => html`<div key=${what}>
        <dt>${what}</dt><dd>${shown.map((name) => html`<kbd key=${name}>${name}</kbd>`)}</dd>
      </div>`)}
    </dl>
  <//>`;
}

export function Dialogs() {
  return html`
    ${question.value && html`<${Question} key="question" />`}
    ${keyQuestion.value && html`<${KeyDialog} key=${`key-${keyQuestion.value.refused}`} />`}
    ${helpShown.value && html`<${Help} key="help" />`}
  `;
}
