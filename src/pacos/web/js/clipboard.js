/** Copying: browsers give the clipboard only to pages that came over HTTPS or from this machine. */

/** @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "away";
  const parent = document.querySelector("dialog[open]") ?? document.body; // focus cannot leave an open dialog
  parent.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
