/** The start: reads what is kept, follows the address, hears shortcuts, draws the page. */

import { regenerate, runningMessage, stop, takeUpAnswers } from "./answering.js";
import { copyText } from "./clipboard.js";
import { notice, openConversation, refresh, shown, shownBranch, startConversation } from "./conversations.js";
import { beginKeeping } from "./keeping.js";
import { keyMissing, readOptions, refreshModels, usedModel } from "./models.js";
import { replaceRoute, route } from "./route.js";
import { reachable } from "./server.js";
import { hearShortcuts } from "./shortcuts.js";
import { effect, html, render } from "./ui.js";
import { App } from "./views/app.js";
import { focusComposer } from "./views/composer.js";
import { helpShown } from "./views/dialogs.js";
import { optionsShown } from "./views/options.js";
import { drawerOpen, focusSearch, goToNew, toggleSidebar } from "./views/sidebar.js";

const MODELS_PAUSE_MS = 3000; // between looks at models while one is being opened or the server is away

effect(() => {
  const { title } = shown.value.conversation;
  document.title = title && route.value.name === "chat" ? `${title} · Pacos` : "Pacos";
});

/** Show what the address names. */
async function follow({ name, id }) {
  if (name !== "chat") return;
  if (!id) {
    if (shown.peek().conversation.leaf !== null) startConversation();
  } else if (await openConversation(id)) {
    await takeUpAnswers();
  } else {
    notice("There is no such conversation here.");
    replaceRoute("/");
  }
}

const keepingBegun = beginKeeping();

effect(() => {
  const wanted = route.value;
  keepingBegun.then(() => follow(wanted)).catch((error) => notice(error.message));
});

// A conversation gets its address with its first message.
effect(() => {
  const { id, leaf } = shown.value.conversation;
  const at = route.peek();
  if (leaf !== null && at.name === "chat" && !at.id) replaceRoute(`/chat/${encodeURIComponent(id)}`);
});

effect(() => {
  if (usedModel.value) readOptions().catch((error) => notice(error.message));
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  refresh().catch(() => {}); // another page may have changed something
  refreshModels();
});

async function watchModels() {
  const settled = reachable.peek() && (usedModel.peek()?.loaded || keyMissing.peek());
  if (!document.hidden && !settled) await refreshModels();
  setTimeout(watchModels, MODELS_PAUSE_MS);
}

function escape() {
  const running = runningMessage();
  if (running) stop(running);
  else if (drawerOpen.value) drawerOpen.value = false;
  else return false;
  return true;
}

const lastAnswer = () => shownBranch.value.findLast((one) => one.role === "assistant");

hearShortcuts({
  stop: escape,
  start: goToNew,
  search: focusSearch,
  focus: focusComposer,
  copy: () => (lastAnswer() ? copyText(lastAnswer().content).then(() => notice("Copied.", "good")) : false),
  regenerate: () => (lastAnswer() && !runningMessage() ? void regenerate(lastAnswer()) : false),
  sidebar: toggleSidebar,
  options: () => void (optionsShown.value = !optionsShown.value),
  help: () => void (helpShown.value = !helpShown.value),
});

render(html`<${App} />`, document.querySelector("#app"));
refreshModels().finally(() => setTimeout(watchModels, MODELS_PAUSE_MS));
