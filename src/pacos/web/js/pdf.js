/** The text of PDF files, by pdf.js, in a worker of its own that ends with the file. */

import { getDocument, GlobalWorkerOptions } from "../vendor/pdfjs-dist-6.5.438/pdf.min.mjs";

GlobalWorkerOptions.workerSrc = new URL("../vendor/pdfjs-dist-6.5.438/pdf.worker.min.mjs", import.meta.url).href;

/**
 * The lines of all pages, an empty line between pages. Throws an Error whose message goes on after the file's name.
 * @param {ArrayBuffer} data @param {number} charactersMax
 */
export async function pdfText(data, charactersMax) {
  const task = getDocument({ data, disableFontFace: true, enableXfa: false, verbosity: 0 });
  try {
    const found = await task.promise;
    const pages = [];
    for (let number = 1, length = 0; number <= found.numPages; number++) {
      const page = await found.getPage(number);
      pages.push(linesOf((await page.getTextContent()).items));
      page.cleanup();
      length += pages.at(-1).length;
      if (length > charactersMax) {
        throw new Refused(`holds more text than ${charactersMax} characters, the most that can go along.`);
      }
    }
    const text = pages.filter(Boolean).join("\n\n");
    if (!text) throw new Refused("holds no text, only pictures of it: have the text recognised (OCR) first.");
    return text;
  } catch (error) {
    throw error instanceof Refused ? error : new Error(PROBLEMS[error.name] ?? `cannot be read: ${error.message}`);
  } finally {
    task.destroy();
  }
}

class Refused extends Error {}

const PROBLEMS = {
  PasswordException: "is locked with a password: save it without one first.",
  InvalidPDFException: "is damaged, or no PDF.",
};

function linesOf(items) {
  const text = items.map(({ str, hasEOL }) => `${str}${hasEOL ? "\n" : ""}`).join("");
  return text.replace(/[ \t]+$/gm, "").replace(/\n{3,}/g, "\n\n").trim();
}
