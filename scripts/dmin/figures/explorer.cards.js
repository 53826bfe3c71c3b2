// Cards of training images and of queries.

/** A sign and a word; the word names the other subset unless it is given. @param {string} kind @param {Sample} sample @param {string|null} name */
function markOf(kind, sample, name = null) {
  const [sign, word] = /** @type {Record<string, string[]>} */ ({ hit: ["✓", "hit"], other: ["✗", sample.subset], noise: ["≈", "noised"], unknown: ["", sourced ? sample.subset : "score"] })[kind];
  return el("span", { className: `mark ${kind}` }, sign && el("span", { "aria-hidden": "true" }, sign), el("span", { className: "name", title: name ?? word }, name ?? word));
}
/** The score from zero on, and the ends of its interval where they are known. @param {Ranking} ranking @param {number} score @param {(number|null|undefined)[]} ends */
function bar(ranking, score, ends = []) {
  const span = ranking.to - ranking.from || 1;
  /** @param {number} value */
  const at = (value) => Math.min(1, Math.max(0, (value - ranking.from) / span));
  const fill = el("i"), zero = at(0), end = at(score), [low, high] = ends;
  fill.style.left = `${100 * Math.min(zero, end)}%`;
  fill.style.width = `${100 * Math.abs(end - zero)}%`;
  const whisker = typeof low === "number" && typeof high === "number" ? el("u") : null;
  if (whisker) { whisker.style.left = `${100 * at(/** @type {number} */ (low))}%`; whisker.style.width = `${100 * (at(/** @type {number} */ (high)) - at(/** @type {number} */ (low)))}%`; }
  return el("span", { className: "bar", "aria-hidden": "true" }, fill, whisker);
}
/** What the other rankings say of an image. @param {Ranking[]} others @param {number} query @param {number} sample */
function elsewhere(others, query, sample) {
  const told = others.map((other) => { const rank = placeOf(other, query, sample); return rank ? `${rank}` : `> ${data.shown}`; });
  return el("span", { className: "elsewhere" }, `elsewhere: rank ${told.join(", ")}`);
}
/** @param {Sample} sample */
function flagsOf(sample) {
  return sample.flags.length ? el("span", { className: "flags" }, ...sample.flags.map(([issue, evidence]) => el("span", { className: "flag", title: evidence }, issues[issue]))) : null;
}
// So many cards fill a screen; the others are made once it is painted, in places that are kept for them.
const AT_ONCE = 9;
/** Cards, each made by its place, the first ones at once. @param {number} count @param {(place: number) => Node[]} make @param {number} first @returns {HTMLElement[]} */
function cardItems(count, make, first = AT_ONCE) {
  const places = Array.from({ length: count }, (_, place) => el("li", {}, ...(place < first ? make(place) : [])));
  if (count > first) afterPaint(() => { if (places[0].isConnected) places.forEach((item, place) => { if (place >= first) item.append(...make(place)); }); });
  return places;
}
/** @param {() => void} action */
function afterPaint(action) { requestAnimationFrame(() => setTimeout(action)); }
/** A ranked training image and its mark. @param {Ranking} ranking @param {Query} query @param {number} place @param {boolean} low @param {Ranking[]} others */
function sampleCard(ranking, query, place, low, others) {
  const { top, scores, judged } = listOf(ranking, query.index, low), index = top[place], score = scores[place];
  const sample = samples[index], kind = kindOf(query, sample), p = judged?.p_value?.[place], significant = judged?.significant?.[place];
  const card = el("button", {
    type: "button", className: `card ${kind}`, onclick: () => openSample(index, ranking.index), "data-sample": String(index), title: "Show what else it ranks high for",
  }, picture("samples", index, ""), el("span", { className: "rank" }, el("span", { className: "visually-hidden" }, low ? "opponent " : "rank "), low ? `−${place + 1}` : `${place + 1}`),
  el("span", { className: "body" },
    el("span", { className: "row" }, markOf(kind, sample), el("b", {}, number(ranking, score))),
    bar(ranking, score, [judged?.low?.[place], judged?.high?.[place]]),
    typeof p === "number" && el("span", { className: "sure" }, probability(p), significant === true && el("b", {}, " significant"), significant === false && " not significant"),
    el("span", { className: "caption", title: sample.prompt }, sample.prompt),
    el("span", { className: "origin", title: sample.origin || sample.id }, sample.origin || sample.id),
    flagsOf(sample),
    others.length ? elsewhere(others, query.index, index) : null));
  for (const event of ["mouseenter", "focus"]) card.addEventListener(event, () => point(index, true));
  for (const event of ["mouseleave", "blur"]) card.addEventListener(event, () => point(index, false));
  return [card, markBox(index)];
}
/** Lift an image wherever it is on show. @param {number} index @param {boolean} on */
function point(index, on) {
  for (const card of document.querySelectorAll(`.card[data-sample="${index}"]`)) card.classList.toggle("twin", on);
  pointOnMap(on ? index : -1);
}

function drawSheet() {
  const sample = samples[state.sample], ranking = rankings[state.from];
  const found = queries.map((query) => ({ query, rank: rankOf(ranking, query.index, state.sample) })).filter((item) => item.rank)
    .sort((a, b) => a.rank - b.rank || ranking.scores[b.query.index][b.rank - 1] - ranking.scores[a.query.index][a.rank - 1]);
  const choice = el("select", { "aria-label": "Ranking", onchange: (/** @type {any} */ event) => { state.from = Number(event.target.value); whenThere(rowsFor(rankings[state.from], state.query), drawSheet); } },
    ...rankings.map((item) => el("option", { value: String(item.index), selected: item.index === state.from }, item.label)));
  const name = sample.prompt || sample.id, label = sample.label && sample.label !== sample.prompt ? `label ${sample.label}` : "";
  const [low, high] = wilson(found.length, queries.length);
  const one = listOf(ranking, state.query, false).top.length ? scoreOf(ranking, state.query, state.sample) : null;
  const rank = placeOf(ranking, state.query, state.sample);
  $("sheet").replaceChildren(
    el("div", { className: "sheet-head" }, el("button", { type: "button", className: "zoom", "aria-label": `Full size: ${name}`, onclick: () => openLight("samples", state.sample, name) }, picture("samples", state.sample, "")),
      el("div", {}, el("span", { className: "badge" }, sample.subset === "noise" ? "noised copy" : sourced ? sample.subset : "training image"), el("h2", { id: "dialog-title" }, name),
        el("p", { className: "facts" }, [sourced ? "training image" : "", subsets.length ? sample.id : sample.origin, label].filter(Boolean).join(" · ")),
        subsets.length && sample.origin ? el("p", { className: "facts" }, `origin: ${sample.origin}`) : null,
        helpOf(sample), ...sample.flags.map(([issue, evidence]) => el("p", { className: "facts" }, el("span", { className: "flag" }, issues[issue]), ` ${evidence}`)),
        one === null ? null : el("p", { className: "facts" }, `For the generated image on show: score ${number(ranking, one)}${rank ? `, rank ${whole(rank)} of ${whole(data.total)}` : ""}`)),
      el("div", { className: "sheet-buttons" }, el("label", { className: "button pinned" }, markBox(state.sample), "Mark"), button("Close", () => $("dialog").close()))),
    drawParts(state.query, state.sample, ranking) ?? "",
    el("div", { className: "bridge" }, el("span", {}, `Among the first ${data.shown} for ${found.length} of ${queries.length} generated images (${percent(found.length / queries.length)}, ${percent(low)} to ${percent(high)}; chance ${percent(Math.min(1, data.shown / data.total))}), by`), choice),
    found.length ? el("ol", { className: "cards" }, ...found.map(({ query, rank: place }) => {
      const kind = kindOf(query, sample), score = ranking.scores[query.index][place - 1];
      return el("li", {}, el("button", {
        type: "button", className: `card ${kind}`, onclick: () => { $("dialog").close(); show({ query: query.index, view: "images" }, true); },
      }, picture("queries", query.index, "", 160), el("span", { className: "rank" }, `rank ${place}`),
      el("span", { className: "body" }, el("span", { className: "row" }, markOf(kind, sample, query.subset || query.file), el("b", {}, number(ranking, score))), bar(ranking, score), el("span", { className: "caption" }, query.prompt))));
    })) : el("p", { className: "empty" }, "This ranking does not place it that high for any generated image."));
}
/** @param {Sample} sample */
function helpOf(sample) {
  if (!sample.helps) return null;
  const [value, sure] = sample.helps, kind = value < 0 ? "harms" : "helps";
  return el("p", { className: `facts ${sure ? kind : ""}` }, `${sure ? `${kind} held-out images of its subset` : "neither helps nor harms held-out images of its subset for sure"}: influence ${value.toPrecision(3).replace("-", "−")}`);
}
/** @param {number} index @param {number} from */
function openSample(index, from) {
  state.sample = index; state.from = from;
  whenThere(rowsFor(rankings[from], state.query), openSheet);
}
function openSheet() {
  if (state.sample < 0) return;
  drawSheet();
  if (!$("dialog").open) $("dialog").showModal();
  $("dialog").scrollTop = 0;
  writeAddress();
}
