// What a reader takes away: tables, pictures and links.

/** A cell of a table; a text that a spreadsheet would run as a formula is kept from it. @param {string|number|boolean|null|undefined} value */
function cellOf(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "string") return String(value);
  return `"${(/^[=+\-@\t\r]/.test(value) ? `'${value}` : value).replaceAll('"', '""')}"`;
}
/** @param {(string|number|boolean|null|undefined)[][]} rows */
function csvOf(rows) { return `${rows.map((row) => row.map(cellOf).join(",")).join("\r\n")}\r\n`; }
/** The rankings of the image on show, or the training set as it is filtered. @returns {{ name: string, text: string }} */
function shownTable() {
  if (state.view === "training") {
    const { ranking, times, rows } = trainRows();
    return { name: `${data.run}-training-set.csv`, text: csvOf([["sample", "subset", "prompt", "origin", "method", "lists", "queries", "chance", "held_out_influence", "issues"],
      ...rows.map((sample) => [sample.id, sample.subset, sample.prompt, sample.origin, ranking.label, times[sample.index], queries.length, data.shown / data.total, sample.helps?.[0], sample.flags.map(([issue]) => issues[issue]).join("; ")])]) };
  }
  const query = queries[state.query];
  if (state.view === "contributors") {
    const { game, ranking, rows } = contributorRows();
    return { name: `${data.run}-${game.game}-contributors.csv`, text: csvOf([["query", "method", "contributor", "samples", "chance", "listed", "of", "mean_share", "low", "high", "behaviour", "estimator", "value", "value_low", "value_high", "share"],
      ...rows.map(({ name, size, chance, count, of, mean, given }) => [query.id, ranking.label, name, size, chance, count, of, ...(mean ?? [null, null, null]), contributed.behaviour, contributed.estimator, ...(given ?? [null, null, null, null])])]) };
  }
  return { name: `${data.run}-${query.id.replaceAll("/", "-")}.csv`, text: csvOf([["query", "method", "rank", "sample", "subset", "score", "p_value", "significant", "low", "high", "prompt", "origin"],
    ...state.shown.flatMap((index) => {
      const { top, scores, judged } = listOf(rankings[index], state.query, state.low);
      return top.map((sample, place) => [query.id, rankings[index].label, state.low ? -(place + 1) : place + 1, samples[sample].id, samples[sample].subset, scores[place],
        judged?.p_value?.[place], judged?.significant?.[place], judged?.low?.[place], judged?.high?.[place], samples[sample].prompt, samples[sample].origin]);
    })]) };
}
/** @param {Blob} blob @param {string} name */
function download(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
/** The image on show and the first of its rankings, as one picture. @returns {Promise<HTMLCanvasElement>} */
async function shownPicture() {
  const side = 112, gap = 12, per = 8, left = 232, line = side + 34, head = 76, query = queries[state.query];
  const shown = state.shown.map((index) => rankings[index]), canvas = el("canvas", { width: left + per * (side + gap) + gap, height: head + shown.length * (line + 30) + 20 });
  canvas.height = Math.max(canvas.height, head + 230);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  /** @param {string} text @param {number} x @param {number} y @param {number} width @param {string} font @param {string} colour */
  const write = (text, x, y, width, font = "13px", colour = "#1c2026") => {
    context.font = `${font} system-ui, "Liberation Sans", sans-serif`;
    context.fillStyle = colour;
    let kept = text;
    while (kept.length > 1 && context.measureText(kept === text ? text : `${kept}…`).width > width) kept = kept.slice(0, -1);
    context.fillText(kept === text ? text : `${kept}…`, x, y);
  };
  write(query.name, gap, 32, canvas.width - 2 * gap, "600 20px");
  write(`Run ${data.run}: ${state.low ? "training images of the lowest scores" : "the training images that shaped it most"}`, gap, 56, canvas.width - 2 * gap, "13px", "#555c68");
  await paint(context, "queries", query.index, boxIn("queries", query.index, gap, head, 208));
  for (const [row, ranking] of shown.entries()) {
    const top = head + row * (line + 30), { top: list, scores } = listOf(ranking, query.index, state.low);
    write(ranking.label, left, top + 12, canvas.width - left - gap, "600 14px");
    for (const [place, index] of list.slice(0, per).entries()) {
      const x = left + place * (side + gap);
      await paint(context, "samples", index, boxIn("samples", index, x, top + 22, side));
      write(`${place + 1} · ${number(ranking, scores[place])}`, x, top + 22 + side + 15, side, "600 12px");
      write(samples[index].subset, x, top + 22 + side + 30, side, "12px", "#555c68");
    }
  }
  return canvas;
}
/** Show a picture that the browser keeps the page from saving, as it does with what was drawn from files. @param {HTMLCanvasElement} canvas */
function showDrawn(canvas) {
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", queries[state.query].name);
  $("light-body").replaceChildren(canvas, el("div", { className: "light-words" }, el("p", { id: "light-title" }, "Save the picture by a right click on it: a browser lets no page save what it drew from files"), button("Close", () => $("light").close())));
  $("light").showModal();
}
/** Where a picture stands in a square. @param {Kind} kind @param {number} index @param {number} x @param {number} y @param {number} side */
function boxIn(kind, index, x, y, side) {
  const [width, height] = fitted(data.pictures[kind], index), scale = side / Math.max(width, height);
  return [x + (side - width * scale) / 2, y + (side - height * scale) / 2, width * scale, height * scale];
}
/** Tell for a moment what was done. @param {string} text */
function tell(text) {
  $("told").textContent = text;
  clearTimeout(toldUntil);
  toldUntil = setTimeout(() => { $("told").textContent = ""; }, 4000);
}
let toldUntil = 0;
function startFiles() {
  $("save-csv").addEventListener("click", () => { const { name, text } = shownTable(); download(new Blob(["\ufeff", text], { type: "text/csv" }), name); tell(`Saved ${name}`); });
  $("save-png").addEventListener("click", async () => {
    const canvas = await shownPicture(), name = `${data.run}-${queries[state.query].id.replaceAll("/", "-")}.png`;
    try { canvas.toBlob((/** @type {Blob|null} */ blob) => { if (blob) { download(blob, name); tell(`Saved ${name}`); } }); } catch { showDrawn(canvas); }
  });
  $("save-link").addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(location.href); tell("Link copied"); } catch { tell("Copy the link from the address bar: it keeps what is shown"); }
  });
}
