// Bytes that stand in the page.

// Pixels of the longer side of larger copies.
const LARGEST = 512;

/** The address of a picture. @param {number} place */
function sourceOf(place) { return `data:image/webp;base64,${$(`blob-${place}`).textContent}`; }
/** @type {Map<number, Uint16Array>} */
const arrays = new Map();
/** A row of unsigned integers of 16 bits, decoded once. @param {number} place @param {number} row @param {number} width @returns {Uint16Array|null} */
function rowOf(place, row, width) {
  let found = arrays.get(place);
  if (!found) { found = levelsIn($(`blob-${place}`).textContent); arrays.set(place, found); }
  return found.subarray(row * width, (row + 1) * width);
}
/** Draw once rows are there, as they are. @param {Row[]} _rows @param {() => void} draw */
function whenThere(_rows, draw) { draw(); }
