/** Where conversations are kept: in this browser, or on the server where it offers that. */

import * as browserStore from "./browser_store.js";
import { keeping, notice, refresh, startConversation } from "./conversations.js";
import { serverKeeps } from "./models.js";
import { prefer, preferences } from "./preferences.js";
import { replaceRoute } from "./route.js";
import * as serverStore from "./server_store.js";

const STORES = { browser: browserStore, server: serverStore };

/** Keep conversations where this browser is told to. */
export async function beginKeeping() {
  keeping.store = STORES[preferences.value.keeping] ?? browserStore;
  try {
    await refresh();
  } catch (error) {
    if (keeping.store === browserStore) {
      notice(`This browser keeps no conversations: ${error.message}`);
      return;
    }
    notice(`The server's conversations cannot be read, this browser's are shown: ${error.message}`);
    keeping.store = browserStore;
    await refresh();
  }
}

/** Keep conversations elsewhere from now on; those that are here stay here. @param {"browser" | "server"} place */
export async function keepIn(place) {
  prefer({ keeping: place });
  startConversation();
  replaceRoute("/");
  await beginKeeping();
}

/** Whether conversations may be kept on the server, and whether they are. */
export function keepingState() {
  return { offered: serverKeeps.value, server: preferences.value.keeping === "server" };
}

/** Copy what this browser has and the server has not. Throws ServerError. */
export async function copyToServer() {
  const there = new Set((await serverStore.list()).map((one) => one.id));
  const missing = (await browserStore.list()).filter((one) => !there.has(one.id));
  for (const conversation of missing) await serverStore.save(conversation, await browserStore.messagesOf(conversation.id));
  await refresh();
  notice(missing.length === 1 ? "One conversation copied." : `${missing.length} conversations copied.`, "good");
}
