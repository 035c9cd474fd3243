/** The list of conversations: search, groups by day, renaming, files out and in; and the ways to other views. */

import { stopAll } from "../answering.js";
import { adopt, conversations, keeping, notice, removeConversation, rename, shown, whole } from "../conversations.js";
import { download, fromJson, toJson, toMarkdown } from "../exchange.js";
import { copyToServer, keepIn, keepingState } from "../keeping.js";
import { prefer, preferences } from "../preferences.js";
import { goTo, route } from "../route.js";
import { html, signal, useEffect, useRef, useState } from "../ui.js";
import { changeKey, confirmed, helpShown } from "./dialogs.js";
import { Icon, IconButton } from "./icons.js";
import { Menu } from "./menu.js";
import { dayText } from "./numbers.js";

const SEARCH_PAUSE_MS = 150;
const narrow = matchMedia("(max-width: 860px)");

/** On narrow screens the list lies over the conversation while it is open. */
export const drawerOpen = signal(false);

export function toggleSidebar() {
  if (narrow.matches) drawerOpen.value = !drawerOpen.value;
  else prefer({ sidebar: !preferences.value.sidebar });
}

export function focusSearch() {
  if (narrow.matches) drawerOpen.value = true;
  else prefer({ sidebar: true });
  setTimeout(() => document.querySelector("#search")?.focus());
}

/** Begin a conversation, whatever is shown. */
export function goToNew() {
  drawerOpen.value = false;
  goTo("/");
}

export function Sidebar() {
  const [text, setText] = useState("");
  const found = useFound(text);
  const close = () => (drawerOpen.value = false);
  return html`
    ${drawerOpen.value && html`<div class="veil" onClick=${close}></div>`}
    <aside class="sidebar" aria-label="Conversations">
      <header>
        <a class="brand" href="#/" onClick=${close}><img src="./logo.svg" width="26" height="26" alt="" />Pacos</a>
        <${IconButton} icon="sidebar" label="Hide conversations" onClick=${toggleSidebar} />
      </header>
      <button type="button" class="new" onClick=${goToNew}><${Icon} name="add" />New conversation</button>
      <label class="search"><${Icon} name="search" size=${16} />
        <input id="search" type="search" placeholder="Search" aria-label="Search conversations" value=${text}
          onInput=${(event) => setText(event.target.value)} /></label>
      <nav class="conversations" aria-label="Conversations">
        <${Groups} found=${found} searching=${Boolean(text.trim())} />
      </nav>
      <${Foot} close=${close} />
    </aside>`;
}

/** The conversations that fit the text that is looked for. */
function useFound(text) {
  const [ids, setIds] = useState(null);
  const all = conversations.value;
  useEffect(() => {
    if (!text.trim()) {
      setIds(null);
      return undefined;
    }
    const timer = setTimeout(() => {
      keeping.store.search(text).then((found) => setIds(new Set(found)), (error) => notice(error.message));
    }, SEARCH_PAUSE_MS);
    return () => clearTimeout(timer);
  }, [text, all]);
  return ids ? all.filter((one) => ids.has(one.id)) : all;
}

function Groups({ found, searching }) {
  if (!found.length) {
    return html`<p class="nothing muted">${searching ? "Nothing found." : "Conversations will be listed here."}</p>`;
  }
  const groups = new Map();
  for (const one of found) {
    const day = dayText(one.updated);
    groups.set(day, [...(groups.get(day) ?? []), one]);
  }
  return [...groups].map(([day, ones]) => html`<section key=${day} aria-label=${day}>
    <h2>${day}</h2>
    <ul>${ones.map((one) => html`<${Entry} key=${one.id} conversation=${one} />`)}</ul>
  </section>`);
}

function Entry({ conversation }) {
  const [renaming, setRenaming] = useState(false);
  const chosen = shown.value.conversation.id === conversation.id && route.value.name === "chat";
  if (renaming) return html`<li class="entry"><${TitleBox} conversation=${conversation} close=${() => setRenaming(false)} /></li>`;
  return html`<li class="entry ${chosen ? "chosen" : ""}">
    <a href=${`#/chat/${encodeURIComponent(conversation.id)}`} aria-current=${chosen ? "page" : undefined} title=${conversation.title}
      onClick=${() => (drawerOpen.value = false)} onDblClick=${() => setRenaming(true)}>${conversation.title}</a>
    <${Menu} label=${`More for ${conversation.title}`} class="icon-button" align="right"
      items=${conversationItems(conversation, () => setRenaming(true))}><${Icon} name="more" /><//>
  </li>`;
}

function TitleBox({ conversation, close }) {
  const box = useRef(null);
  useEffect(() => box.current.select(), []);
  const keep = (event) => {
    event.preventDefault();
    if (!box.current) return; // what is taken away loses the focus, too
    rename(conversation, box.current.value);
    close();
  };
  return html`<form onSubmit=${keep}><input ref=${box} class="title-box" aria-label="Title" maxlength="200"
    value=${conversation.title} onBlur=${keep} onKeyDown=${(event) => event.key === "Escape" && close()} /></form>`;
}

/** What can be done with a conversation as a whole. */
export function conversationItems(conversation, startRenaming) {
  const fetched = async (make, ending, type) => download(`${conversation.title}.${ending}`, make(await whole(conversation)), type);
  const remove = async () => {
    const text = `“${conversation.title}” and all its messages are deleted.`;
    if (!(await confirmed({ title: "Delete conversation?", text, action: "Delete" }))) return;
    stopAll(conversation.id);
    const here = shown.value.conversation.id === conversation.id;
    await removeConversation(conversation.id);
    if (here) goTo("/");
  };
  return [
    ...(startRenaming ? [{ label: "Rename", icon: "edit", run: startRenaming }] : []),
    {
      label: "Export as Markdown",
      icon: "download",
      run: () => fetched((one) => toMarkdown(one.conversation, one.messages), "md", "text/markdown"),
    },
    { label: "Export as JSON", icon: "download", run: () => fetched((one) => toJson([one]), "json", "application/json") },
    { label: "Delete", icon: "trash", danger: true, run: remove },
  ];
}

const VIEWS = [
  { name: "chat", path: "#/", label: "Chat", icon: "chat" },
  { name: "playground", path: "#/playground", label: "Playground", icon: "playground" },
  { name: "status", path: "#/status", label: "Status", icon: "status" },
];

const THEMES = ["system", "light", "dark"];

function Foot({ close }) {
  const input = useRef(null);
  const { theme } = preferences.value;
  const nextTheme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const items = [
    ...keepingItems(),
    { label: "Import conversations", icon: "upload", run: () => input.current.click() },
    { label: "Export all conversations", icon: "download", run: exportAll },
    { label: "API key", icon: "key", run: changeKey },
    { label: "Keyboard shortcuts", icon: "help", run: () => (helpShown.value = true) },
  ];
  return html`<footer>
    <nav class="views" aria-label="Views">${VIEWS.map(({ name, path, label, icon }) => html`<a key=${name} href=${path}
      class=${route.value.name === name ? "chosen" : ""} aria-current=${route.value.name === name ? "page" : undefined}
      onClick=${close}><${Icon} name=${icon} />${label}</a>`)}</nav>
    <div class="foot-row">
      <input ref=${input} type="file" accept=".json,application/json" hidden onChange=${importFile} aria-label="Conversations" />
      <${Menu} label="More" class="more" align="up" items=${items}><${Icon} name="more" />More<//>
      <${IconButton} icon=${theme} label=${`Theme: ${theme}; change to ${nextTheme}`} onClick=${() => prefer({ theme: nextTheme })} />
    </div>
  </footer>`;
}

function keepingItems() {
  const { offered, server } = keepingState();
  if (!offered && !server) return [];
  const change = (place) => () => keepIn(place).catch((error) => notice(error.message));
  if (!server) return [{ label: "Keep conversations on the server", icon: "upload", run: change("server") }];
  return [
    { label: "Keep conversations in this browser", icon: "download", run: change("browser") },
    { label: "Copy this browser's to the server", icon: "copy", run: () => copyToServer().catch((error) => notice(error.message)) },
  ];
}

async function exportAll() {
  const all = await Promise.all(conversations.value.map(whole));
  download(`pacos-conversations-${new Date().toISOString().slice(0, 10)}.json`, toJson(all), "application/json");
}

async function importFile(event) {
  const [file] = event.target.files;
  event.target.value = "";
  try {
    const found = fromJson(await file.text());
    await adopt(found);
    notice(found.length === 1 ? "One conversation imported." : `${found.length} conversations imported.`, "good");
  } catch (error) {
    notice(error.message);
  }
}
