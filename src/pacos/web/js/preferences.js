/** What this browser remembers beside conversations: the theme, the model, options of new conversations. */

import { effect, signal } from "./ui.js";

const NAME = "pacos.preferences";

/**
 * @typedef {object} Preferences
 * @property {"system" | "light" | "dark"} theme
 * @property {string} model  the model that was chosen last; "" is the server's first
 * @property {string} system  system prompt of new conversations
 * @property {Object<string, unknown>} options  options of new conversations
 * @property {"browser" | "server"} keeping  where conversations lie
 * @property {boolean} sidebar  whether the list of conversations is shown where there is room
 * @property {boolean} enterSends
 */

/** @type {Preferences} */
const DEFAULTS = {
  theme: "system",
  model: "",
  system: "",
  options: {},
  keeping: "browser",
  sidebar: true,
  enterSends: true,
};

function stored() {
  try {
    const found = JSON.parse(localStorage.getItem(NAME) ?? "{}");
    return { ...DEFAULTS, ...found };
  } catch {
    return { ...DEFAULTS };
  }
}

export const preferences = signal(stored());

/** Change some preferences and remember them. @param {Partial<Preferences>} changes */
export function prefer(changes) {
  preferences.value = { ...preferences.value, ...changes };
  try {
    localStorage.setItem(NAME, JSON.stringify(preferences.value));
  } catch {
    // A browser that keeps nothing still runs the page.
  }
}

const system = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(system.matches);
system.addEventListener("change", (event) => (systemDark.value = event.matches));

effect(() => {
  const { theme } = preferences.value;
  const dark = theme === "dark" || (theme === "system" && systemDark.value);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
});
