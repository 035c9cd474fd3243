/** Above the conversation: the model that answers, and ways to the list and the options. */

import { bytesText } from "../attachments.js";
import { change, notice, shown } from "../conversations.js";
import { keyMissing, models, openModel, refreshModels, stateOf, usedModel } from "../models.js";
import { prefer, preferences } from "../preferences.js";
import { route } from "../route.js";
import { reachable } from "../server.js";
import { html } from "../ui.js";
import { Icon, IconButton } from "./icons.js";
import { Menu } from "./menu.js";
import { optionsShown } from "./options.js";
import { conversationItems, goToNew, toggleSidebar } from "./sidebar.js";

export function Topbar() {
  const { conversation } = shown.value;
  const chat = route.value.name === "chat";
  return html`<header class="topbar">
    <span class="when-sidebar-hidden">
      <${IconButton} icon="sidebar" label="Show conversations" onClick=${toggleSidebar} />
      <${IconButton} icon="add" label="New conversation" onClick=${goToNew} />
    </span>
    <${ModelPicker} />
    ${!reachable.value && route.value.name !== "status" && html`<span class="unreached" role="status"><${Icon} name="warning" size=${16} />
      <span>No answer from the server<span class="when-wide">; it is asked again</span></span></span>`}
    <span class="space"></span>
    ${chat && conversation.leaf && html`<${Menu} label="More for this conversation" class="icon-button" align="right"
      items=${conversationItems(conversation)}><${Icon} name="more" /><//>`}
    ${chat && html`<${IconButton} icon="options" label="Options" aria-expanded=${optionsShown.value} aria-controls=${optionsShown.value ? "options" : undefined}
      class=${optionsShown.value ? "chosen" : ""} onClick=${() => (optionsShown.value = !optionsShown.value)} />`}
  </header>`;
}

const STATES = { open: "open", opening: "is being opened", closed: "not open yet", failed: "could not be opened" };

/** The models of the server, with whether each is open. */
function ModelPicker() {
  const chosen = usedModel.value;
  if (!chosen) {
    const words = keyMissing.value ? "Enter the API key" : reachable.value ? "No model yet" : "No model";
    return html`<button type="button" class="picker" onClick=${() => refreshModels()}>
      <span class="dot ${keyMissing.value || !reachable.value ? "failed" : ""}" aria-hidden="true"></span>${words}</button>`;
  }
  const items = models.value.map((model) => ({
    label: model.id,
    note: [STATES[stateOf(model)], model.facts && bytesText(model.facts.bytes)].filter(Boolean).join(" · "),
    dot: stateOf(model),
    chosen: model.id === chosen.id,
    run: () => chooseModel(model),
  }));
  return html`<${Menu} label=${`Model: ${chosen.id}, ${STATES[stateOf(chosen)]}`} class="picker" radio=${true} wide=${true}
    items=${items} onOpen=${refreshModels}>
    <span class="dot ${reachable.value ? stateOf(chosen) : "failed"}" aria-hidden="true"></span><span class="picker-name">${chosen.id}</span>
    <${Icon} name="down" size=${16} />
  <//>`;
}

function chooseModel(model) {
  if (preferences.value.model !== model.id) prefer({ model: model.id });
  change({ model: model.id });
  if (!model.loaded) openModel(model).catch((error) => notice(error.message));
}
