// The map: training images as dots, generated ones as diamonds, on two axes; linked with the list beside it.

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#4b86c9", "#7a5195", "#8c564b"];
const MARGIN = 22;
const mapState = { chosen: 0, colour: "subset", pointed: -1, focus: -1 };
/** @type {{ sample: Float64Array, query: Float64Array } | null} */
let mapPlaces = null;

/** The rows that a map is drawn from. @param {StoredMap} map @returns {Row[]} */
function rowsOf(map) { return [[map.samples, 0, 2 * samples.length], ...(map.queries === null ? [] : [/** @type {Row} */ ([map.queries, 0, 2 * queries.length])])]; }
/** Places of a map in pixels; NaN where a sample has none. Null where they are not there. @param {StoredMap} map @param {number} width @param {number} height */
function placesOf(map, width, height) {
  const [sampleLevels, queryLevels] = rowsOf(map).map((row) => rowOf(...row));
  if (!sampleLevels) return null;
  // One scale for both axes, so that distances are those of the projection.
  const scale = Math.min((width - 2 * MARGIN) / (map.spans[0] || 1), (height - 2 * MARGIN) / (map.spans[1] || 1));
  const left = (width - scale * map.spans[0]) / 2, top = (height - scale * map.spans[1]) / 2;
  /** @param {Uint16Array} levels */
  const read = (levels) => {
    const at = new Float64Array(levels.length);
    for (let index = 0; index < levels.length; index += 2) {
      at[index] = levels[index] ? left + (levels[index] / map.levels) * map.spans[0] * scale : NaN;
      at[index + 1] = levels[index + 1] ? height - top - (levels[index + 1] / map.levels) * map.spans[1] * scale : NaN;
    }
    return at;
  };
  return { sample: read(sampleLevels), query: read(queryLevels ?? new Uint16Array(0)) };
}
/** A colour between two of the form #rrggbb. @param {string} low @param {string} high @param {number} share From 0, the low one, to 1. */
function mixed(low, high, share) {
  const parts = [1, 3, 5].map((at) => Math.round(parseInt(low.slice(at, at + 2), 16) * (1 - share) + parseInt(high.slice(at, at + 2), 16) * share));
  return `rgb(${parts.join(" ")})`;
}

function drawMap() {
  const map = data.maps[mapState.chosen], canvas = $("map");
  const width = canvas.clientWidth, height = canvas.clientHeight, dense = window.devicePixelRatio || 1;
  if (!map || !width) return;
  mapPlaces = placesOf(map, width, height);
  if (!mapPlaces) return;
  canvas.width = width * dense; canvas.height = height * dense;
  const context = canvas.getContext("2d"), ranking = rankings[state.shown[0]];
  const { sample: at, query: asked } = mapPlaces, listed = listOf(ranking, state.query, state.low).top, radius = samples.length > 20_000 ? 1.2 : samples.length > 2000 ? 2 : 3;
  const colourOf = dotColours(ranking), shows = [mapState.chosen, width, height, dense, document.documentElement.dataset.theme, mapState.colour, ...(mapState.colour === "score" ? [ranking.index, state.query] : [])].join(" ");
  if (dots.shows !== shows) {
    dots.canvas.width = canvas.width; dots.canvas.height = canvas.height;
    const under = dots.canvas.getContext("2d");
    under.scale(dense, dense);
    under.globalAlpha = 0.55;
    for (const sample of samples) dot(under, at, sample.index, radius, colourOf(sample));
    dots.shows = shows;
  }
  context.drawImage(dots.canvas, 0, 0);
  context.scale(dense, dense);
  for (const index of listed) dot(context, at, index, radius, colourOf(samples[index]));
  context.strokeStyle = ink("--ink");
  context.lineWidth = 1.6;
  for (const index of listed) ring(context, at, index, radius + 2.5);
  context.lineWidth = 1;
  for (const query of queries) if (asked.length) diamond(context, asked, query.index, query.index === state.query ? 8 : 3.5, query.index === state.query ? ink("--accent") : ink("--panel"), ink("--ink"));
  if (mapState.pointed >= 0) { context.lineWidth = 3; context.strokeStyle = ink("--accent"); ring(context, at, mapState.pointed, radius + 6); }
  $("map-words").textContent = `${map.name}: the two principal axes of the training images hold ${percent(map.explained[0])} and ${percent(map.explained[1])} of their variance; what is far apart is unlike, what is close may still differ. Rings: the ${state.low ? "opponents" : "first"} by ${ranking.label}.${map.queries === null ? "" : " Diamonds: generated images, the large one on show."}`;
}
// All training images as dots, which are many: drawn again only where what they show has changed.
const dots = { shows: "", canvas: el("canvas") };
/** @param {string} name A variable of the page's style. */
function ink(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
/** The colour of each dot. @param {Ranking} ranking @returns {(sample: Sample) => string} */
function dotColours(ranking) {
  const levels = mapState.colour === "score" ? levelsFor(ranking, state.query) : null;
  const steps = levels ? Array.from({ length: 64 }, (_, step) => mixed(ink("--bar"), ink("--other"), step / 63)) : [];
  const names = new Map(trainSubsets.map((subset, place) => [subset, subset === "noise" ? ink("--noise") : COLOURS[place % COLOURS.length]]));
  return (sample) => (levels ? steps[levels[sample.index] >> 10] : names.get(sample.subset) ?? COLOURS[0]);
}
/** @param {CanvasRenderingContext2D} context @param {Float64Array} at @param {number} index @param {number} radius @param {string} colour */
function dot(context, at, index, radius, colour) {
  if (Number.isNaN(at[2 * index])) return;
  context.fillStyle = colour;
  // What is small is as well a square, which is drawn in a third of the time.
  if (radius < 2) { context.fillRect(at[2 * index] - radius, at[2 * index + 1] - radius, 2 * radius, 2 * radius); return; }
  context.beginPath();
  context.arc(at[2 * index], at[2 * index + 1], radius, 0, 7);
  context.fill();
}
/** @param {CanvasRenderingContext2D} context @param {Float64Array} at @param {number} index @param {number} radius */
function ring(context, at, index, radius) {
  if (Number.isNaN(at[2 * index])) return;
  context.beginPath();
  context.arc(at[2 * index], at[2 * index + 1], radius, 0, 7);
  context.stroke();
}
/** @param {CanvasRenderingContext2D} context @param {Float64Array} at @param {number} index @param {number} size @param {string} fill @param {string} line */
function diamond(context, at, index, size, fill, line) {
  const x = at[2 * index], y = at[2 * index + 1];
  if (Number.isNaN(x)) return;
  context.beginPath();
  context.moveTo(x, y - size); context.lineTo(x + size, y); context.lineTo(x, y + size); context.lineTo(x - size, y); context.closePath();
  context.fillStyle = fill; context.strokeStyle = line;
  context.fill(); context.stroke();
}
/** What is nearest to a point of the map: queries before training images. @param {number} x @param {number} y @returns {{ kind: Kind, index: number } | null} */
function nearest(x, y) {
  if (!mapPlaces) return null;
  /** @type {{ kind: Kind, index: number } | null} */
  let best = null;
  let least = 14 ** 2;
  for (const [kind, at, bonus] of /** @type {[Kind, Float64Array, number][]} */ ([["queries", mapPlaces.query, 0.5], ["samples", mapPlaces.sample, 1]])) {
    for (let index = 0; index < at.length / 2; index += 1) {
      const distance = bonus * ((at[2 * index] - x) ** 2 + (at[2 * index + 1] - y) ** 2);
      if (distance < least) { least = distance; best = { kind, index }; }
    }
  }
  return best;
}
/** @param {number} index A training image, or -1. */
function pointOnMap(index) {
  if (state.view !== "map" || mapState.pointed === index) return;
  mapState.pointed = index;
  drawMap();
}
/** Tell what is under the pointer, on the map and in the list. @param {{ kind: Kind, index: number } | null} found */
function tellOnMap(found) {
  const sample = found && found.kind === "samples" ? found.index : -1;
  for (const card of document.querySelectorAll(".map-list .card")) card.classList.toggle("twin", card.getAttribute("data-sample") === String(sample));
  pointOnMap(sample);
  const box = $("map-tip");
  box.hidden = !found;
  if (!found || !mapPlaces) return;
  const ranking = rankings[state.shown[0]], at = found.kind === "samples" ? mapPlaces.sample : mapPlaces.query;
  const score = found.kind === "samples" ? scoreOf(ranking, state.query, found.index) : null, rank = score === null ? 0 : placeOf(ranking, state.query, found.index);
  const item = found.kind === "samples" ? samples[found.index] : queries[found.index];
  box.replaceChildren(picture(found.kind, found.index, "", 128), el("span", {}, el("b", {}, found.kind === "queries" ? "generated image" : sourced ? item.subset : "training image"), el("span", {}, item.prompt || item.id),
    score === null ? null : el("span", { className: "quiet" }, `score ${number(ranking, score)}${rank ? `, rank ${rank}` : ""}`)));
  const x = at[2 * found.index], y = at[2 * found.index + 1];
  box.style.left = `${Math.max(4, Math.min(x + 14, $("map").clientWidth - 224))}px`;
  box.style.top = `${Math.max(4, Math.min(y + 14, $("map").clientHeight - 92))}px`;
}
function drawMapView() {
  const ranking = rankings[state.shown[0]], query = queries[state.query], { top } = listOf(ranking, state.query, state.low);
  $("map-title").textContent = `${state.low ? "Opponents of" : "What shaped"}: ${query.name}`;
  $("map-key").replaceChildren(...(mapState.colour === "score" ? [el("span", {}, "score for the image on show, from low"), el("i", { className: "scale" }), el("span", {}, "to high")]
    : trainSubsets.map((subset) => { const dot = el("i"); dot.style.background = subset === "noise" ? "var(--noise)" : COLOURS[trainSubsets.indexOf(subset) % COLOURS.length]; return el("span", {}, dot, subset === "noise" ? "noised copies" : subset); })));
  $("map-list").replaceChildren(...top.slice(0, 12).map((_, place) => el("li", {}, ...sampleCard(ranking, query, place, state.low, []))));
  drawMap();
}
/** Go to the nearest training image in a direction. @param {number} x @param {number} y */
function stepOnMap(x, y) {
  if (!mapPlaces) return;
  const at = mapPlaces.sample, from = mapState.focus >= 0 ? mapState.focus : rankings[state.shown[0]].top[state.query][0] ?? 0;
  let best = from, least = Infinity;
  for (let index = 0; index < samples.length; index += 1) {
    const right = at[2 * index] - at[2 * from], down = at[2 * index + 1] - at[2 * from + 1], along = right * x + down * y, across = Math.abs(right * y) + Math.abs(down * x);
    if (along > 0.5 && along >= across && along + 2 * across < least) { least = along + 2 * across; best = index; }
  }
  mapState.focus = best;
  tellOnMap({ kind: "samples", index: best });
  $("live").textContent = `Training image: ${samples[best].prompt || samples[best].id}`;
}
function startMap() {
  const canvas = $("map");
  $("map-choice").replaceChildren(...data.maps.map((map, index) => el("option", { value: String(index) }, map.name)));
  $("map-choice").addEventListener("change", (/** @type {any} */ event) => { mapState.chosen = Number(event.target.value); drawView(); });
  $("map-colour").addEventListener("change", (/** @type {any} */ event) => { mapState.colour = event.target.value; drawMapView(); });
  canvas.addEventListener("mousemove", (/** @type {MouseEvent} */ event) => tellOnMap(nearest(event.offsetX, event.offsetY)));
  canvas.addEventListener("mouseleave", () => tellOnMap(null));
  canvas.addEventListener("blur", () => { mapState.focus = -1; tellOnMap(null); });
  canvas.addEventListener("click", (/** @type {MouseEvent} */ event) => {
    const found = nearest(event.offsetX, event.offsetY);
    if (found?.kind === "queries") show({ query: found.index }, true);
    else if (found) openSample(found.index, state.shown[0]);
  });
  canvas.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const way = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] })[event.key];
    if (way) { event.preventDefault(); event.stopPropagation(); stepOnMap(...way); }
    else if (event.key === "Enter" && mapState.focus >= 0) {
      // Or the key would press the first button of what it opens.
      event.preventDefault();
      openSample(mapState.focus, state.shown[0]);
    }
  });
  new ResizeObserver(() => { if (state.view === "map") drawMap(); }).observe(canvas);
}
