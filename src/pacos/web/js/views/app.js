/** The page: the list at the side, the view that the address names, options, dialogs, notices. */

import { dismiss, notice, notices } from "../conversations.js";
import { preferences } from "../preferences.js";
import { route } from "../route.js";
import { html, useEffect, useErrorBoundary, useState } from "../ui.js";
import { Dialogs } from "./dialogs.js";
import { Icon, IconButton } from "./icons.js";
import { OptionsPanel, optionsShown } from "./options.js";
import { Playground } from "./playground.js";
import { drawerOpen, Sidebar } from "./sidebar.js";
import { Thread } from "./thread.js";
import { Topbar } from "./topbar.js";

export function App() {
  const [error] = useErrorBoundary();
  if (error) return html`<${Broken} error=${error} />`;
  const { name } = route.value;
  const chat = name === "chat";
  const classes = [preferences.value.sidebar ? "" : "no-sidebar", drawerOpen.value ? "drawer" : ""].join(" ");
  return html`<div class="page ${classes}">
    <a class="skip" href="#composer" onClick=${skip}>Skip to the message box</a>
    <${Sidebar} />
    <main>
      <${Topbar} />
      ${chat && html`<${Thread} />`}
      ${name === "playground" && html`<${Playground} />`}
      ${name === "status" && html`<${StatusLater} />`}
    </main>
    ${chat && optionsShown.value && html`<${OptionsPanel} />`}
    <${Notices} />
    <${Dialogs} />
  </div>`;
}

/** The status view, whose charts are fetched when they are looked at. */
function StatusLater() {
  const [View, setView] = useState(null);
  useEffect(() => {
    import("../../status/view.js").then((found) => setView(() => found.StatusView), (error) => notice(error.message));
  }, []);
  return View && html`<${View} />`;
}

function skip(event) {
  event.preventDefault();
  document.querySelector("#composer, main textarea")?.focus();
}

function Notices() {
  return html`<div class="notices" role="status">${notices.value.map(({ id, text, kind }) => html`<div key=${id}
    class="notice ${kind}"><${Icon} name=${kind === "error" ? "warning" : "check"} size=${16} /><span>${text}</span>
    <${IconButton} icon="close" label="Dismiss" size=${14} onClick=${() => dismiss(id)} /></div>`)}</div>`;
}

function Broken({ error }) {
  return html`<div class="welcome" role="alert">
    <h1>Something in this page broke</h1>
    <p class="muted">${String(error)}</p>
    <button type="button" class="button primary" onClick=${() => location.reload()}>Load it again</button>
  </div>`;
}
