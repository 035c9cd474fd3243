/** Keyboard shortcuts: the table that the help sheet shows, and what listens to them. */

const apple = /Mac|iPhone|iPad/.test(navigator.platform);
const MAIN = apple ? "⌘" : "Ctrl";

/** @typedef {{keys: string, shown: string[], what: string, name: string}} Shortcut */

/** Those with `keys` are heard everywhere; the others belong to the message box. @type {Shortcut[]} */
export const SHORTCUTS = [
  { name: "send", keys: "", shown: ["Enter"], what: "Send the message" },
  { name: "line", keys: "", shown: ["Shift", "Enter"], what: "New line" },
  { name: "editLast", keys: "", shown: ["↑"], what: "Edit your last message, in an empty box" },
  { name: "stop", keys: "escape", shown: ["Esc"], what: "Stop the answer" },
  { name: "start", keys: "main+shift+o", shown: [MAIN, "Shift", "O"], what: "New conversation" },
  { name: "search", keys: "main+k", shown: [MAIN, "K"], what: "Search conversations" },
  { name: "focus", keys: "shift+escape", shown: ["Shift", "Esc"], what: "Go to the message box" },
  { name: "copy", keys: "main+shift+c", shown: [MAIN, "Shift", "C"], what: "Copy the last answer" },
  { name: "regenerate", keys: "main+shift+e", shown: [MAIN, "Shift", "E"], what: "Answer again" },
  { name: "sidebar", keys: "main+b", shown: [MAIN, "B"], what: "Show or hide conversations" },
  { name: "options", keys: "main+,", shown: [MAIN, ","], what: "Show or hide options" },
  { name: "help", keys: "main+/", shown: [MAIN, "/"], what: "This sheet; ? outside of text too" },
];

function pressed(event) {
  const parts = [];
  if (apple ? event.metaKey : event.ctrlKey) parts.push("main");
  if (event.altKey) parts.push("alt");
  if (event.shiftKey) parts.push("shift");
  return [...parts, event.key.toLowerCase()].join("+");
}

/**
 * Hear shortcuts. An action that returns false did nothing: the key goes on to whatever else wants it.
 * @param {Object<string, () => unknown>} actions  by the names of the table
 */
export function hearShortcuts(actions) {
  const byKeys = new Map(SHORTCUTS.filter((one) => one.keys).map((one) => [one.keys, actions[one.name]]));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || document.querySelector("dialog[open]")) return;
    const writing = event.target.closest?.("input, textarea, select, [contenteditable]");
    const action = event.key === "?" && !writing ? actions.help : byKeys.get(pressed(event));
    if (action && action() !== false) event.preventDefault();
  });
}
