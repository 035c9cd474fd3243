/** Which view is shown: the part of the address after the hash. */

import { signal } from "./ui.js";

const VIEWS = ["chat", "playground", "status"]; // whatever else an address says is the first

/** @returns {{name: string, id: string}} */
function parsed() {
  const [name, id = ""] = location.hash.replace(/^#\/?/, "").split("/");
  return VIEWS.includes(name) ? { name, id } : { name: VIEWS[0], id: "" };
}

export const route = signal(parsed());
addEventListener("hashchange", () => (route.value = parsed()));

/** @param {string} path  such as "/chat/ID" */
export function goTo(path) {
  if (location.hash !== `#${path}`) location.hash = path;
}

/** Change the address without an entry in the browser's history. */
export function replaceRoute(path) {
  history.replaceState(null, "", `#${path}`);
  route.value = parsed();
}
