/** A button that opens a menu: arrow keys move in it, Escape and a click elsewhere close it. */

import { html, useEffect, useRef, useState } from "../ui.js";
import { Icon } from "./icons.js";

/**
 * @param {object} props
 * @param {string} props.label  what is read out
 * @param {{label: string, icon?: string, danger?: boolean, chosen?: boolean, note?: string, dot?: string, run: () => void}[]} props.items
 * @param {unknown} props.children  what the button shows
 */
export function Menu({ label, items, children, class: more = "", align = "left", radio = false, onOpen, wide = false }) {
  const [open, setOpen] = useState(false);
  const root = useRef(null);
  const close = (focus) => {
    setOpen(false);
    if (focus) root.current?.querySelector("button").focus();
  };
  useEffect(() => {
    if (!open) return undefined;
    const list = root.current.querySelector("[role=menu]");
    (list.querySelector("[aria-checked=true]") ?? list.querySelector("button"))?.focus();
    const outside = (event) => root.current?.contains(event.target) || close(false);
    document.addEventListener("pointerdown", outside);
    return () => document.removeEventListener("pointerdown", outside);
  }, [open]);
  const toggle = () => {
    if (!open) onOpen?.();
    setOpen(!open);
  };
  return html`<div class="menu" ref=${root} onKeyDown=${(event) => open && move(event, close)}>
    <button type="button" class=${more} aria-label=${label} title=${label} aria-haspopup="menu" aria-expanded=${open}
      onClick=${toggle}>${children}</button>
    ${open && html`<div class="menu-list ${align} ${wide ? "wide" : ""}" role="menu" aria-label=${label}>
      ${items.map((item) => html`<${Item} key=${item.label} item=${item} radio=${radio} close=${close} />`)}
    </div>`}
  </div>`;
}

function Item({ item, radio, close }) {
  const run = () => {
    close(true);
    item.run();
  };
  return html`<button type="button" class="menu-item ${item.danger ? "danger" : ""}" onClick=${run} tabindex="-1"
    role=${radio ? "menuitemradio" : "menuitem"} aria-checked=${radio ? Boolean(item.chosen) : undefined}>
    ${item.icon && html`<${Icon} name=${item.icon} />`}
    ${item.dot && html`<span class="dot ${item.dot}" aria-hidden="true"></span>`}
    <span class="menu-label">${item.label}</span>
    ${item.note && html`<span class="menu-note">${item.note}</span>`}
    ${item.chosen && html`<${Icon} name="check" size=${16} />`}
  </button>`;
}

function move(event, close) {
  const items = [...event.currentTarget.querySelectorAll("[role^=menuitem]")];
  const at = items.indexOf(document.activeElement);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
  if (event.key === "Escape") close(true);
  else if (event.key === "Tab") close(false);
  else if (next !== undefined && items.length) items[next % items.length].focus();
  else return;
  if (event.key !== "Tab") event.preventDefault();
  event.stopPropagation();
}
