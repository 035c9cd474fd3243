/**
 * Markdown of models as elements: parsed by marked, sanitised by DOMPurify, drawn block by block, so that blocks that
 * are finished are not drawn again while an answer grows.
 *
 * Nothing in it loads anything: pictures from elsewhere become links. The classes that it may carry are its own, so
 * that it cannot dress up as a part of the page.
 */

import DOMPurify from "../vendor/dompurify-3.4.18/purify.es.mjs";
import { Lexer, Marked } from "../vendor/marked-18.2.1/marked.esm.js";
import { drawFormulas, formulas } from "./formulas.js";
import { drawCode, growCode } from "./code.js";

const TAGS = (
  "a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure h1 h2 h3 " +
  "h4 h5 h6 hr i img ins kbd li mark ol p pre q rp rt ruby s samp small span strong sub summary sup table tbody td " +
  "tfoot th thead tr u ul var wbr"
).split(" ");
const ATTRIBUTES = "href title src alt align start colspan rowspan class open dir lang reversed value".split(" ");
const LINKS = ["href", "src"];
// Tags that may be written as HTML; any other is shown as text, for most models mean its name when they write it.
const SIMPLE_TAG = /^<\/?(?:b|br|code|del|details(?: open)?|em|hr|i|ins|kbd|mark|s|small|strong|sub|summary|sup|u|wbr)\s*\/?>$/i;
const CLASSES = /^(formula|display|task|language-[\w+#.-]{1,40})$/;
const PICTURE = /^data:image\/(png|jpeg|gif|webp);base64,/i;

const purify = DOMPurify(window);

purify.addHook("uponSanitizeAttribute", (node, data) => {
  if (data.attrName !== "class") return;
  data.attrValue = data.attrValue.split(/\s+/).filter((name) => CLASSES.test(name)).join(" ");
  data.keepAttr = data.attrValue !== "";
});

purify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "A" && node.hasAttribute("href")) {
    node.setAttribute("target", "_blank");
    node.setAttribute("rel", "noopener noreferrer nofollow");
  }
  if (node.tagName === "IMG" && !PICTURE.test(node.getAttribute("src") ?? "")) node.removeAttribute("src");
});

const escapeHtml = (text) =>
  text.replace(/[&<>"']/g, (one) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" })[one]);

/** HTML within Markdown: the simplest tags, and text. */
function simple(source) {
  const parts = source.replace(/<!--[^]*?-->/g, "").split(/(<[^<>]*>)/);
  return parts.map((part) => (SIMPLE_TAG.test(part) ? part : part.replace(/</g, "&lt;").replace(/>/g, "&gt;"))).join("");
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  renderer: {
    html: ({ text }) => simple(text),
    image({ href, text }) {
      const alt = escapeHtml(text || "picture");
      if (PICTURE.test(href)) return `<img src="${escapeHtml(href)}" alt="${alt}">`;
      return `<a href="${escapeHtml(href)}">${alt}</a>`;
    },
    checkbox({ checked }) {
      return `<span class="task">${checked ? "☑" : "☐"}</span> `;
    },
  },
});
marked.use({ extensions: formulas });

/** Sanitised elements of some HTML. @param {string} markup @returns {DocumentFragment} */
export function sanitised(markup) {
  return purify.sanitize(markup, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ADD_URI_SAFE_ATTR: ATTRIBUTES.filter((name) => !LINKS.includes(name)),
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ALLOWED_URI_REGEXP: /^(?:https?:\/\/|mailto:)/i,
    RETURN_DOM_FRAGMENT: true,
  });
}

/** A growing text in an element. */
export class Drawing {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.reset();
  }

  reset() {
    this.root.replaceChildren();
    this.settled = ""; // the text of the blocks that will not change
    this.blocks = []; // after those: {raw, open, kind, element}
    this.links = {};
  }

  /**
   * Draw the text; what is drawn already stays.
   * @param {string} text @param {boolean} growing  whether more may come
   */
  update(text, growing) {
    if (!text.startsWith(this.settled)) this.reset();
    let tokens = this.lexed(text.slice(this.settled.length));
    if (!growing && this.settled && Object.keys(this.links).length) {
      this.reset(); // an earlier block may refer to a link that came later
      tokens = this.lexed(text);
    }
    tokens.forEach((token, place) => this.draw(token, place, growing && place === tokens.length - 1));
    for (const block of this.blocks.splice(tokens.length)) block.element?.remove();
    if (growing) this.settle();
  }

  lexed(text) {
    const lexer = new Lexer(marked.defaults);
    Object.assign(lexer.tokens.links, this.links);
    const found = lexer.lex(text);
    this.links = { ...lexer.tokens.links };
    return found;
  }

  draw(token, place, open) {
    const known = this.blocks[place];
    if (known && known.raw === token.raw && known.open === open) return;
    const kind = token.type === "code" ? `code ${token.lang ?? ""}` : token.type;
    if (known?.open && open && token.type === "code" && known.kind === kind) {
      growCode(known.element, token.text);
      known.raw = token.raw;
      return;
    }
    const drawn = token.type === "space" || token.type === "def" ? null : block(token, open);
    if (known?.element) {
      if (drawn) known.element.replaceWith(drawn);
      else known.element.remove();
    } else if (drawn) {
      const after = this.blocks.slice(place + 1).find((one) => one.element);
      this.root.insertBefore(drawn, after?.element ?? null);
    }
    this.blocks[place] = { raw: token.raw, open, kind, element: drawn };
  }

  /** All blocks but the last are finished. */
  settle() {
    const last = this.blocks.findLastIndex((one) => one.element);
    if (last < 1) return;
    for (const { raw } of this.blocks.splice(0, last)) this.settled += raw;
  }
}

function block(token, open) {
  const element = document.createElement("div");
  element.className = "block";
  element.append(sanitised(marked.parser([token])));
  for (const image of element.querySelectorAll("img:not([src])")) image.replaceWith(image.alt || "(picture)");
  for (const table of element.querySelectorAll("table")) {
    const frame = document.createElement("div");
    frame.className = "table-frame";
    frame.tabIndex = 0; // wide ones are scrolled with keys too
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", "Table");
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const code of element.querySelectorAll("pre > code")) drawCode(code, open);
  drawFormulas(element);
  return element;
}
