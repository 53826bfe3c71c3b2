// Where the influence of a pair lies: regions of either image, timesteps and layers.

/** A picture under its map: what raises the score in one colour, what lowers it in the other. @param {Kind} kind @param {number} index @param {[string, number][]} parts @param {string} name */
function overlay(kind, index, parts, name) {
  const [width, height] = fitted(data.pictures[kind], index), side = 240, scale = side / Math.max(width, height);
  const canvas = el("canvas", { className: "picture", width: Math.round(width * scale), height: Math.round(height * scale), role: "img", "aria-label": name });
  const context = canvas.getContext("2d"), most = Math.max(...parts.map(([, score]) => Math.abs(score))) || 1;
  const cells = parts.map(([part, score]) => /** @type {[number, number, number]} */ ([...part.split(",").map(Number), score]));
  const rows = 1 + Math.max(...cells.map(([row]) => row)), columns = 1 + Math.max(...cells.map(([, column]) => column));
  paint(context, kind, index, [0, 0, canvas.width, canvas.height]).then(() => {
    for (const [row, column, score] of cells) {
      context.fillStyle = score > 0 ? `rgb(230 97 0 / ${0.85 * (score / most)})` : `rgb(0 90 181 / ${-0.85 * (score / most)})`;
      context.fillRect((column * canvas.width) / columns, (row * canvas.height) / rows, canvas.width / columns + 0.5, canvas.height / rows + 0.5);
    }
  });
  return canvas;
}
/** Parts as bars from zero. @param {string} title @param {[string, number][]} parts @param {Ranking} ranking */
function partBars(title, parts, ranking) {
  const most = Math.max(...parts.map(([, score]) => Math.abs(score))) || 1;
  return el("div", {}, el("h3", {}, title), el("dl", { className: "parts" }, ...parts.flatMap(([part, score]) => {
    const fill = el("i", { className: score < 0 ? "lowers" : "raises" });
    fill.style.width = `${(50 * Math.abs(score)) / most}%`;
    fill.style.left = score < 0 ? `${50 - (50 * Math.abs(score)) / most}%` : "50%";
    return [el("dt", { title: part }, part), el("dd", {}, el("span", { className: "bar", "aria-hidden": "true" }, fill), el("span", {}, number(ranking, score)))];
  })));
}
/** What is known of a pair; nothing where the run has no map of it. @param {number} query @param {number} sample @param {Ranking} ranking */
function drawParts(query, sample, ranking) {
  const kinds = partsOf.get(`${query} ${sample}`);
  if (!kinds) return null;
  const regions = /** @type {[string, Kind, number, string][]} */ ([["query_region", "queries", query, "Of the generated image"], ["sample_region", "samples", sample, "Of the training image"]]);
  const layers = [...(kinds.layer ?? [])].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 10);
  return el("section", { className: "split", "aria-label": "Where the influence lies" }, el("h3", {}, "Where the influence on the generated image on show lies: orange raises the score, blue lowers it"),
    el("div", { className: "split-parts" }, ...regions.filter(([kind]) => kinds[kind]).map(([kind, side, index, title]) => el("div", {}, el("h3", {}, title), overlay(side, index, kinds[kind], title))),
      kinds.timestep && partBars("By timestep", kinds.timestep, ranking), layers.length > 0 && partBars(kinds.layer.length > layers.length ? `By layer, the ${layers.length} strongest of ${kinds.layer.length}` : "By layer", layers, ranking)));
}
