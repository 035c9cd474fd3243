/** The shown conversation: its messages, and the place that follows the end of an answer. */

import { runningMessage } from "../answering.js";
import { shown, shownBranch } from "../conversations.js";
import { Following } from "../following.js";
import { usedModel } from "../models.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { Composer, compose } from "./composer.js";
import { IconButton } from "./icons.js";
import { MessageView } from "./message.js";

// What to begin with; the bundled model tells stories and little else.
const STORIES = ["Tell me a story about a dragon.", "Tell me a story about a lost toy.", "Tell me a story about two friends."];
const IDEAS = ["Explain how a bicycle stays upright.", "Write a Python function that finds duplicate files.", "Help me plan a quiet weekend."];

export function Thread() {
  const scroller = useRef(null);
  const [away, setAway] = useState(false);
  const messages = shownBranch.value;
  const id = shown.value.conversation.id;
  const follow = useFollowing(scroller, id, messages.length > 0, setAway);
  return html`<div class="thread">
    <div class="scroller" ref=${scroller} tabindex="0" role="region" aria-label="Messages">
      ${messages.length
        ? html`<div class="messages" key=${id}>${messages.map((message, place) => html`<${MessageView} key=${message.id}
            message=${message} last=${place === messages.length - 1} />`)}</div>`
        : html`<${Welcome} />`}
    </div>
    <div class="below">
      ${away && html`<${IconButton} icon="bottom" label="Go to the end" class="to-end" onClick=${follow} />`}
      <${Composer} key=${id} />
    </div>
    <${Spoken} />
  </div>`;
}

/** Stay at the end while an answer grows, unless the reader went up. Gives what follows again from now on. */
function useFollowing(scroller, id, filled, setAway) {
  const following = useRef(null);
  const running = runningMessage()?.id;
  useEffect(() => {
    const element = scroller.current;
    const now = (following.current = new Following());
    const heard = (hear) => () => {
      hear.call(now, element);
      setAway(now.away(element));
    };
    const sizes = new ResizeObserver(heard(now.resized));
    const scrolled = heard(now.scrolled);
    const clicked = () => runningMessage() || now.leave();
    sizes.observe(element);
    sizes.observe(element.firstElementChild);
    element.addEventListener("scroll", scrolled, { passive: true });
    element.addEventListener("click", clicked);
    return () => {
      sizes.disconnect();
      element.removeEventListener("scroll", scrolled);
      element.removeEventListener("click", clicked);
    };
  }, [id, filled]);
  const follow = () => following.current.begin(scroller.current);
  useEffect(() => {
    if (running) follow(); // whoever asks wants to see what comes
  }, [running]);
  return follow;
}

function Welcome() {
  const model = usedModel.value;
  const place = /^(localhost|127\.|\[::1\])/.test(location.hostname) ? "this machine" : location.hostname;
  const ideas = model?.id === "storyteller" ? STORIES : IDEAS;
  return html`<div class="welcome">
    <img src="./logo.svg" width="56" height="56" alt="" />
    <h1>What shall we talk about?</h1>
    <p class="muted">${model ? html`<strong>${model.id}</strong> answers on ${place}.` : `Models that run on ${place} answer here.`}
      ${" "}Nothing leaves it.</p>
    <div class="ideas">${ideas.map((idea) => html`<button type="button" key=${idea} class="idea"
      onClick=${() => compose(idea)}>${idea}</button>`)}</div>
  </div>`;
}

/** What screen readers hear of an answer: that it began, and that it is there. */
function Spoken() {
  const running = runningMessage();
  const last = shownBranch.value.at(-1);
  const words = running ? "The answer is being written." : last?.role === "assistant" ? "The answer is there." : "";
  return html`<div class="away" role="status" aria-live="polite">${words}</div>`;
}
