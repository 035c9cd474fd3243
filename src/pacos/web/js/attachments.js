/** Files that go with a message: read, checked, and written into the message as the model sees it. */

export const FILE_BYTES_MAX = 2 << 20; // of text
export const PDF_BYTES_MAX = 64 << 20;
export const LONG_PASTE_CHARACTERS = 4000; // longer pasted text becomes a file

/**
 * The text of a file. Throws an Error that says why it cannot go along, and what can.
 * @param {File} file @returns {Promise<import("./tree.js").Attachment>}
 */
export async function attached(file) {
  const name = file.name || "pasted text.txt";
  if (/^(image|audio|video)\//.test(file.type) && file.type !== "image/svg+xml") {
    throw new Error(`${name} holds no text, and the models here read text only: write or paste what it says.`);
  }
  const pdf = file.type === "application/pdf" || /\.pdf$/i.test(name);
  const most = pdf ? PDF_BYTES_MAX : FILE_BYTES_MAX;
  if (file.size > most) throw new Error(`${name} has ${bytesText(file.size)}: files of up to ${bytesText(most)} can go along.`);
  return { name, size: file.size, text: pdf ? await textOfPdf(name, file) : await plainText(name, file) };
}

async function plainText(name, file) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    if (text.includes("\0")) throw new TypeError("binary");
    return text.replace(/\r\n?/g, "\n");
  } catch (error) {
    if (!(error instanceof TypeError)) throw new Error(`${name} cannot be read.`);
    throw new Error(`${name} is no text: text files (UTF-8) and PDF can go along. Export it as one of these first.`);
  }
}

/** The reader of PDF is larger than the rest of the page, and loaded for those who need it. */
async function textOfPdf(name, file) {
  const { pdfText } = await import("./pdf.js");
  const text = await pdfText(await file.arrayBuffer(), FILE_BYTES_MAX).catch((error) => {
    throw new Error(`${name} ${error.message}`);
  });
  return text;
}

/** What the model reads of a message: its files, each in a fence longer than any inside, then its text. */
export function withAttachments(content, attachments = []) {
  const parts = attachments.map(({ name, text }) => {
    const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
    const fence = "`".repeat(longest + 1);
    return `File ${JSON.stringify(name)}:\n${fence}\n${text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...parts, content].filter(Boolean).join("\n\n");
}

/** A size in the units of people. @param {number} bytes */
export function bytesText(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let unit = 0;
  let size = bytes;
  for (; size >= 1000 && unit < units.length - 1; unit++) size /= 1000;
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toPrecision(2)} ${units[unit]}`;
}
