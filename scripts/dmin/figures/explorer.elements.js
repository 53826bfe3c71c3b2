// Elements and pictures.

/**
 * Element of a tag with properties and children; strings become text, so nothing from the data is read as markup.
 * @param {string} tag @param {Record<string, any>} properties @param {...(Node|string|null|undefined|false|"")} children @returns {any}
 */
function el(tag, properties = {}, ...children) {
  /** @type {any} */
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(.../** @type {(Node|string)[]} */ (children.filter((child) => child !== null && child !== undefined && child !== false && child !== "")));
  return node;
}
/** @param {string} tag @param {Record<string, string|number>} properties @param {...(Node|null)} children @returns {SVGElement} */
function svg(tag, properties = {}, ...children) {
  const node = /** @type {any} */ (document.createElementNS($("drawing").namespaceURI, tag));
  for (const [name, value] of Object.entries(properties)) node.setAttribute(name, String(value));
  node.append(.../** @type {Node[]} */ (children.filter(Boolean)));
  return node;
}
/** @param {string} name @param {() => void} action @param {Record<string, any>} more */
function button(name, action, more = {}) {
  return el("button", { type: "button", className: "button", onclick: action, ...more }, name);
}

/** @type {Map<number, Promise<HTMLImageElement>>} */
const sheets = new Map();
/** A sheet of an atlas, decoded once. @param {number} place */
function sheetOf(place) {
  let found = sheets.get(place);
  if (!found) {
    const image = new Image();
    image.src = sourceOf(place);
    found = image.decode().then(() => image);
    sheets.set(place, found);
  }
  return found;
}
/** Width and height at which a picture stands in its cell. @param {Pictures} atlas @param {number} index @returns {[number, number]} */
function fitted(atlas, index) {
  const [width, height] = atlas.sizes[index], scale = Math.min(1, atlas.side / Math.max(width, height));
  return [Math.max(1, Math.floor(width * scale + 0.5)), Math.max(1, Math.floor(height * scale + 0.5))];
}
/** Draw a picture into a box of a canvas; resolves once it stands there. @param {CanvasRenderingContext2D} context @param {Kind} kind @param {number} index @param {number[]} box */
function paint(context, kind, index, box) {
  const atlas = data.pictures[kind], cell = atlas.cells[index], perSheet = atlas.columns ** 2;
  const place = cell % perSheet, [width, height] = fitted(atlas, index);
  return sheetOf(atlas.sheets[Math.floor(cell / perSheet)]).then((sheet) => {
    context.imageSmoothingEnabled = box[2] < width;
    context.imageSmoothingQuality = "high";
    context.drawImage(sheet, (place % atlas.columns) * atlas.side, Math.floor(place / atlas.columns) * atlas.side, width, height, box[0], box[1], box[2], box[3]);
  });
}
/** A picture of the atlas; without words for who does not see it where `alt` is empty. @param {Kind} kind @param {number} index @param {string} alt @param {number} pixels */
function picture(kind, index, alt, pixels = 512) {
  const [width, height] = fitted(data.pictures[kind], index), scale = Math.min(1, pixels / Math.max(width, height));
  const canvas = el("canvas", { className: `picture${Math.max(width, height) < 96 && scale === 1 ? " sharp" : ""}`, width: Math.round(width * scale), height: Math.round(height * scale) });
  if (alt) { canvas.setAttribute("role", "img"); canvas.setAttribute("aria-label", alt); } else canvas.setAttribute("aria-hidden", "true");
  paint(canvas.getContext("2d"), kind, index, [0, 0, canvas.width, canvas.height]);
  return canvas;
}

/** Show a picture as large as the page holds it. @param {Kind} kind @param {number} index @param {string} name */
function openLight(kind, index, name) {
  const atlas = data.pictures[kind], [width, height] = atlas.sizes[index], large = atlas.large[String(index)];
  const shown = large === undefined ? fitted(atlas, index) : [width, height].map((side) => Math.round(side * Math.min(1, LARGEST / Math.max(width, height))));
  const image = large === undefined ? picture(kind, index, name) : el("img", { src: sourceOf(large), alt: name });
  image.style.aspectRatio = `${shown[0]} / ${shown[1]}`;
  image.classList.toggle("sharp", Math.max(...shown) < 200);
  const same = shown[0] === width && shown[1] === height;
  $("light-body").replaceChildren(image, el("div", { className: "light-words" }, el("p", { id: "light-title" }, name),
    el("p", { className: "facts" }, `${width} × ${height} pixels${same ? "" : `, of which this page holds ${shown[0]} × ${shown[1]}`}`), button("Close", () => $("light").close())));
  $("light").showModal();
}
