// Training images that a reader marks, to take their names away.

/** @type {Set<number>} */
const marked = new Set();
/** The name of an image's file, or its id where none is its own. @param {Sample} sample */
function fileOf(sample) { return sample.file || sample.id; }
/** The box that marks a training image; keys reach it by the card beside it. @param {number} index */
function markBox(index) {
  return el("input", { type: "checkbox", className: "pin", tabIndex: -1, checked: marked.has(index), "data-mark": String(index), "aria-label": `Mark ${fileOf(samples[index])}`, title: "Mark (m)",
    onchange: () => setMarked([index], !marked.has(index)) });
}
/** @param {Iterable<number>} indices @param {boolean} on */
function setMarked(indices, on) {
  for (const index of indices) {
    if (on) marked.add(index); else marked.delete(index);
    for (const box of document.querySelectorAll(`.pin[data-mark="${index}"]`)) /** @type {HTMLInputElement} */ (box).checked = on;
  }
  drawMarked();
  writeAddress();
}
function drawMarked() {
  $("marked").hidden = !marked.size;
  $("marked-count").textContent = marked.size ? `${marked.size} marked` : "";
}
/** Marked images in the order of the data set. */
function markedSamples() { return [...marked].sort((a, b) => a - b).map((index) => samples[index]); }
/** Ids and files as a table, and files as a plain list, one a line; noised copies have none. */
function markedTable() { return csvOf([["id", "file"], ...markedSamples().map((sample) => [sample.id, sample.file])]); }
function markedList() { return markedSamples().filter((sample) => sample.subset !== "noise").map((sample) => `${fileOf(sample).replace(/[\r\n]+/g, " ")}\n`).join(""); }
/** Mark what has the focus. @param {HTMLElement} target @returns {boolean} Whether it was a training image. */
function markFocused(target) {
  const index = target.closest(".card")?.getAttribute("data-sample");
  if (index === null || index === undefined) return false;
  setMarked([Number(index)], !marked.has(Number(index)));
  tell(marked.has(Number(index)) ? "Marked" : "No longer marked");
  return true;
}
function startMarks() {
  /** @type {[string, string, () => string, string][]} */
  const files = [["marked-csv", "marked.csv", () => `\ufeff${markedTable()}`, "text/csv"], ["marked-list", "marked.txt", markedList, "text/plain"]];
  for (const [id, name, text, type] of files) $(id).addEventListener("click", () => { download(new Blob([text()], { type }), `${data.run}-${name}`); tell(`Saved ${data.run}-${name}`); });
  $("marked-none").addEventListener("click", () => { setMarked([...marked], false); $("save-csv").focus(); });
}
