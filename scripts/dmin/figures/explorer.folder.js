// Bytes in files beside the page, read when they are first shown. A page that was opened as a file reads no file but as a picture
// or as a script, so numbers are scripts of one call.

const store = /** @type {{ piece: number, perFolder: number, pixels: number }} */ (data.folder);
const LARGEST = store.pixels;
// So many pieces are kept; what is on show takes a few.
const KEPT = 48;

/** @param {number} place @param {string} name */
function fileIn(place, name) { return `files/${Math.floor(place / store.perFolder)}/${name}`; }
/** The address of a picture. @param {number} place */
function sourceOf(place) { return fileIn(place, `${place}.webp`); }

/** @type {Map<string, Uint16Array>} The last that were asked for are the last. */
const pieces = new Map();
/** @type {Map<string, Promise<void>>} */
const asked = new Map();
/** How many rows a piece has. @param {number} width */
function rowsIn(width) { return Math.max(1, Math.floor(store.piece / width)); }
/** @param {Row} row */
function nameOf([place, row, width]) { return `${place}-${Math.floor(row / rowsIn(width))}`; }
/** A row of unsigned integers of 16 bits; null where it was not asked for before, or its file is missing. @param {number} place @param {number} row @param {number} width @returns {Uint16Array|null} */
function rowOf(place, row, width) {
  const found = pieces.get(nameOf([place, row, width])), start = (row % rowsIn(width)) * width;
  return found ? found.subarray(start, start + width) : null;
}
const addresses = /** @type {any} */ (window).trustedTypes?.createPolicy("dmin", {
  createScriptURL(/** @type {string} */ address) { if (!/^files\/\d+\/\d+-\d+\.js$/.test(address)) throw new TypeError(address); return address; },
}) ?? { createScriptURL: (/** @type {string} */ address) => address };
/** What the file of a piece calls. @param {string} name @param {string} text */
function took(name, text) { pieces.set(name, levelsIn(text)); }
/** @param {Row} row @returns {Promise<void>} It ends where the file is missing, too. */
function read(row) {
  const name = nameOf(row);
  let found = asked.get(name);
  if (!found) {
    found = new Promise((done) => {
      const end = () => { script.remove(); asked.delete(name); done(); };
      const script = el("script", { src: addresses.createScriptURL(fileIn(row[0], `${name}.js`)), onload: end, onerror: () => { tell("A file is missing: index.html needs the folder it came with"); end(); } });
      document.head.append(script);
    });
    asked.set(name, found);
  }
  return found;
}
/** @type {Map<() => void, number>} */
const turns = new Map();
/** Draw once rows are there: at once where they are, and not where the same was asked for again. @param {Row[]} rows @param {() => void} draw */
function whenThere(rows, draw) {
  const turn = (turns.get(draw) ?? 0) + 1, missing = [];
  turns.set(draw, turn);
  for (const row of rows) {
    const name = nameOf(row), found = pieces.get(name);
    if (found) { pieces.delete(name); pieces.set(name, found); } else missing.push(row);
  }
  if (!missing.length) { draw(); return; }
  Promise.all(missing.map(read)).then(() => {
    for (const name of [...pieces.keys()].slice(0, Math.max(0, pieces.size - KEPT))) pieces.delete(name);
    if (turns.get(draw) === turn) draw();
  });
}
