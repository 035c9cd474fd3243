/** Formulas in Markdown: `$...$`, `$$...$$`, `\(...\)`, `\[...\]`, drawn by KaTeX, which is loaded at the first one. */

const STYLES = "../vendor/katex-0.19.1/katex.min.css";
const LENGTH_MAX = 5000;

// A dollar sign is money, too: a formula has no space inside its signs, and no digit after them.
const INLINE = [
  /^\$\$((?:\\[^]|[^\\$])+?)\$\$/,
  /^\$(?![\s$])((?:\\[^]|[^\\$\n])*?(?:\\[^]|[^\\$\s]))\$(?!\d)/,
  /^\\\(([^]+?)\\\)/,
  /^\\\[([^]+?)\\\]/,
];
const BLOCK = [/^ {0,3}\$\$([^]+?)\$\$ *(?:\n|$)/, /^ {0,3}\\\[([^]+?)\\\] *(?:\n|$)/];

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function found(patterns, source, displayed) {
  for (const [place, pattern] of patterns.entries()) {
    const match = pattern.exec(source);
    if (match && match[1].trim() && match[1].length <= LENGTH_MAX) return { raw: match[0], text: match[1].trim(), display: displayed(place) };
  }
  return undefined;
}

/** Extensions for marked. They leave the text of a formula in an element; `drawFormulas` draws it. */
export const formulas = [
  {
    name: "formulaBlock",
    level: "block",
    start: (source) => source.match(/^ {0,3}(?:\$\$|\\\[)/m)?.index,
    tokenizer(source) {
      const token = found(BLOCK, source, () => true);
      return token && { type: "formulaBlock", ...token };
    },
    renderer: ({ text }) => `<p><span class="formula display">${escaped(text)}</span></p>`,
  },
  {
    name: "formula",
    level: "inline",
    start: (source) => source.match(/\$|\\[([]/)?.index,
    tokenizer(source) {
      const token = found(INLINE, source, (place) => place === 0 || place === 3);
      return token && { type: "formula", ...token };
    },
    renderer: ({ text, display }) => `<span class="formula${display ? " display" : ""}">${escaped(text)}</span>`,
  },
];

let loading = null;

function katex() {
  loading ??= new Promise((resolve, reject) => {
    const styles = document.createElement("link");
    styles.rel = "stylesheet";
    styles.href = new URL(STYLES, import.meta.url).href;
    document.head.append(styles);
    import("../vendor/katex-0.19.1/katex.min.js").then(() => resolve(globalThis.katex), reject);
  });
  return loading;
}

/** Draw the formulas in an element, now or when KaTeX is there. @param {HTMLElement} element */
export function drawFormulas(element) {
  const there = element.querySelectorAll(".formula");
  if (!there.length) return;
  if (globalThis.katex) there.forEach(draw);
  else katex().then(() => there.forEach(draw), () => {});
}

function draw(element) {
  const text = element.textContent;
  element.dataset.text = text;
  globalThis.katex.render(text, element, {
    displayMode: element.classList.contains("display"),
    throwOnError: false,
    trust: false,
    strict: false,
    maxExpand: 200,
    maxSize: 20,
  });
}
