/** Icons, drawn as lines in a square of 24. */

import { html } from "../ui.js";

const PATHS = {
  sidebar: "M4 5h16v14H4zM9.5 5v14",
  add: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM20 20l-4-4",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v10H9zM5 15V5h10",
  check: "M5 12.5l4.5 4.5L19 7.5",
  edit: "M4 20h4L19 9l-4-4L4 16zM13.5 6.5l4 4",
  retry: "M20 11a8 8 0 1 0-.8 5M20 5v6h-6",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  left: "M15 5l-7 7 7 7",
  right: "M9 5l7 7-7 7",
  down: "M6 9l6 6 6-6",
  bottom: "M12 5v14M6 13l6 6 6-6",
  more: "M5.2 12h.6M11.7 12h.6M18.2 12h.6",
  options: "M4 8h9M17 8h3M15 5.5v5M4 16h3M11 16h9M9 13.5v5",
  clip: "M20 11.5l-8.3 8.3a5 5 0 0 1-7-7L13 4.5a3.4 3.4 0 0 1 4.8 4.8l-8.2 8.2a1.7 1.7 0 0 1-2.4-2.4l7.3-7.3",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  close: "M6 6l12 12M18 6L6 18",
  light: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 3v1.5M12 19.5V21M3 12h1.5M19.5 12H21M5.6 5.6l1 1M17.4 17.4l1 1M5.6 18.4l1-1M17.4 6.6l1-1",
  dark: "M20 14.5A8.5 8.5 0 1 1 9.5 4 7 7 0 0 0 20 14.5z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  chat: "M4 5h16v11H10l-4 4v-4H4z",
  playground: "M9 3h6M10 3v6L5 18.5A1.7 1.7 0 0 0 6.5 21h11a1.7 1.7 0 0 0 1.5-2.5L14 9V3M7.5 15h9",
  status: "M4 4v16h16M8 16v-4M12 16V8M16 16v-6",
  key: "M15.5 14a5.5 5.5 0 1 0-5.2-3.7L4 16.5V20h3.5v-2H10v-2.5h2l1.3-1.7c.7.1 1.4.200 2.2.200zM16.5 8.5h.01",
  help: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.6 9.5a2.5 2.5 0 1 1 3.6 2.3c-.8.4-1.2.900-1.2 1.7M12 16.8h.01",
  play: "M8 5l11 7-11 7z",
  download: "M12 4v11M7 10.5l5 4.5 5-4.5M5 20h14",
  upload: "M12 15V4M7 8.5L12 4l5 4.5M5 20h14",
  thought: "M12 3l1.9 5.6L19.5 10.5l-5.6 1.9L12 18l-1.9-5.6L4.5 10.5l5.6-1.9zM18.5 16v4M16.5 18h4",
  warning: "M12 4L2.8 20h18.4zM12 10v4.5M12 17.3h.01",
};

/** @param {{name: keyof typeof PATHS, size?: number}} props */
export function Icon({ name, size = 18 }) {
  return html`<svg class="icon icon-${name}" width=${size} height=${size} viewBox="0 0 24 24" aria-hidden="true">
    <path d=${PATHS[name]} />
  </svg>`;
}

/** A button that shows an icon alone; its label is read out and shown as a hint. */
export function IconButton({ icon, label, size, class: more = "", ...rest }) {
  return html`<button type="button" class="icon-button ${more}" aria-label=${label} title=${label} ...${rest}>
    <${Icon} name=${icon} size=${size} />
  </button>`;
}
