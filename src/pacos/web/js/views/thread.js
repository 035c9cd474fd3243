/** The shown conversation: its messages, and the place that follows the end of an answer. */

import { runningMessage } from "../answering.js";
import { shown, shownBranch } from "../conversations.js";
import { usedModel } from "../models.js";
import { html, useEffect, useRef, useState } from "../ui.js";
import { Composer, compose } from "./composer.js";
import { IconButton } from "./icons.js";
import { MessageView } from "./message.js";

const NEAR_PIXELS = 60; // so far from the end still counts as its end

const IDEAS = ["Tell me a story about a dragon.", "Tell me a story about a lost toy.", "Tell me a story about two friends."];

export function Thread() {
  const scroller = useRef(null);
  const [away, setAway] = useState(false);
  const messages = shownBranch.value;
  const id = shown.value.conversation.id;
  useFollowing(scroller, id, messages.length, setAway);
  const toEnd = () => scroller.current.scrollTo({ top: scroller.current.scrollHeight, behavior: "smooth" });
  return html`<div class="thread">
    <div class="scroller" ref=${scroller} tabindex="0" role="region" aria-label="Messages">
      ${messages.length
        ? html`<div class="messages" key=${id}>${messages.map((message, place) => html`<${MessageView} key=${message.id}
            message=${message} last=${place === messages.length - 1} />`)}</div>`
        : html`<${Welcome} />`}
    </div>
    <div class="below">
      ${away && html`<${IconButton} icon="bottom" label="Go to the end" class="to-end" onClick=${toEnd} />`}
      <${Composer} key=${id} />
    </div>
    <${Spoken} />
  </div>`;
}

/** Stay at the end while an answer grows, unless the reader went up. */
function useFollowing(scroller, id, count, setAway) {
  useEffect(() => {
    const element = scroller.current;
    let following = true;
    let height = 0;
    let top = 0;
    const atEnd = () => element.scrollHeight - element.scrollTop - element.clientHeight < NEAR_PIXELS;
    const follow = () => {
      if (following && element.scrollHeight !== height) element.scrollTop = element.scrollHeight;
      height = element.scrollHeight;
    };
    const scrolled = () => {
      // The event comes a frame after `follow`; the answer may have grown since. Only the reader scrolls up.
      following = atEnd() || (following && element.scrollTop >= top);
      top = element.scrollTop;
      setAway(!following);
    };
    const sizes = new ResizeObserver(follow);
    sizes.observe(element);
    if (element.firstElementChild) sizes.observe(element.firstElementChild);
    element.addEventListener("scroll", scrolled, { passive: true });
    element.scrollTop = element.scrollHeight;
    setAway(false);
    return () => {
      sizes.disconnect();
      element.removeEventListener("scroll", scrolled);
    };
  }, [id, count]);
}

function Welcome() {
  const model = usedModel.value;
  return html`<div class="welcome">
    <img src="./logo.svg" width="56" height="56" alt="" />
    <h1>What shall we talk about?</h1>
    <p class="muted">${model ? html`<strong>${model.id}</strong> answers on this machine. Nothing leaves it.`
      : "Models that run on this machine answer here. Nothing leaves it."}</p>
    <div class="ideas">${IDEAS.map((idea) => html`<button type="button" key=${idea} class="idea"
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
