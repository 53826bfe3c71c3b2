// The generated images and their rankings.

function filterQueries() {
  const needle = state.text.trim().toLowerCase();
  visible = queries.filter((query) => (!state.subset || query.subset === state.subset) && (!needle || query.text.includes(needle)));
  if (state.order !== "given") {
    const sign = state.order === "low" ? 1 : -1;
    /** @param {Query} query */
    const rate = (query) => listRate(query.index) ?? 2 * sign;
    visible = [...visible].sort((a, b) => sign * (rate(a) - rate(b)) || a.index - b.index);
  }
}
// The rate shown in the list: at the second cut-off, a small k that still tells queries apart.
const middle = Math.min(1, data.cutoffs.length - 1);
/** @param {number} query */
function listRate(query) { return rankings[state.shown[0]].rates[query][middle] ?? null; }
/** @param {number} rate */
function hits(rate) { return `${Math.round(rate * data.cutoffs[middle])}/${data.cutoffs[middle]} hits`; }

/** @type {Map<number, any>} */
const listItems = new Map();
/** A generated image in the list, made once. @param {Query} query */
function listItem(query) {
  let item = listItems.get(query.index);
  if (!item) {
    item = el("li", {}, el("button", {
      type: "button", className: "pick", id: `pick-${query.index}`, title: query.name, onclick: () => show({ query: query.index, view: state.view === "map" ? "map" : "images" }),
    }, picture("queries", query.index, "", 88), el("span", {}, el("span", { className: "words" }, query.name),
      el("span", { className: "under" }, el("span", {}, query.subset || (query.name === query.file ? "" : query.file)), el("span", { className: "hits" })))));
    listItems.set(query.index, item);
  }
  return item;
}
function drawList() {
  filterQueries();
  $("count").textContent = visible.length === queries.length ? `${queries.length} images` : `${visible.length} of ${queries.length}`;
  const items = visible.map((query) => {
    const item = listItem(query), rate = listRate(query.index), told = item.querySelector(".hits"), pick = item.firstElementChild;
    told.textContent = rate === null ? "" : hits(rate);
    told.classList.toggle("low", rate !== null && rate < 0.5);
    pick.tabIndex = query.index === state.query ? 0 : -1;
    if (query.index === state.query) pick.setAttribute("aria-current", "true"); else pick.removeAttribute("aria-current");
    return item;
  });
  // What stands as it is asked for is neither laid out nor painted again.
  const shown = $("list").children;
  if (shown.length !== items.length || !items.every((item, place) => shown[place] === item)) $("list").replaceChildren(...items);
  if (!visible.length) $("list").append(el("li", { className: "empty" }, `No generated image matches. Clear the search${subsets.length ? " or choose another subset" : ""}.`));
  if (visible.length && !visible.some((query) => query.index === state.query)) $("list").querySelector(".pick").tabIndex = 0;
  requestAnimationFrame(revealCurrent);
}
function revealCurrent() {
  const list = $("list"), current = $(`pick-${state.query}`);
  if (!current) return;
  const outer = list.getBoundingClientRect(), inner = current.getBoundingClientRect();
  if (inner.top < outer.top || inner.bottom > outer.bottom) list.scrollTop += inner.top - outer.top - outer.height / 2 + inner.height / 2;
  if (inner.left < outer.left || inner.right > outer.right) list.scrollLeft += inner.left - outer.left - outer.width / 2 + inner.width / 2;
}
/** Choices of one value. @param {HTMLElement} box @param {string[]} values @param {string} chosen @param {(value: string) => void} choose */
function drawChips(box, values, chosen, choose) {
  box.replaceChildren(...["", ...values].map((value) => el("button", {
    type: "button", className: "chip", "aria-pressed": String(chosen === value), onclick: () => { choose(value); drawChips(box, values, value, choose); },
  }, value || "all")));
}
function drawSubsets() {
  drawChips($("chips"), subsets, state.subset, (subset) => { state.subset = subset; drawList(); keepVisible(); });
}
// After a filter, show the first match if the image on show is filtered out.
function keepVisible() {
  if (visible.length && !visible.some((query) => query.index === state.query)) show({ query: visible[0].index });
}

function drawHero() {
  const query = queries[state.query], place = visible.findIndex((other) => other.index === state.query);
  /** @param {number} by @param {string} name */
  const step = (by, name) => button(name, () => move(by), { disabled: !visible.length });
  const facts = [query.seed && `Generated with seed ${query.seed}`, query.subset ? query.id : query.name === query.file ? "" : query.file];
  $("hero").replaceChildren(el("button", { type: "button", className: "zoom", "aria-label": `Full size: ${query.name}`, onclick: () => openLight("queries", query.index, query.name) }, picture("queries", query.index, "")), el("div", {},
    query.subset ? el("span", { className: "badge" }, query.subset) : null,
    el("h1", { className: query.name.length > 90 ? "long" : "" }, query.name),
    el("p", { className: "facts" }, facts.filter(Boolean).join(" · ")),
    el("div", { className: "step" }, step(-1, "← Previous"), step(1, "Next →"), place >= 0 ? el("span", {}, `${place + 1} of ${visible.length}`) : null)));
  $("live").textContent = `Generated image: ${query.name}${query.subset ? `, subset ${query.subset}` : ""}.`;
  document.title = `${query.name} · which training images shaped it?`;
}
/** An interval as it stands beside a rate. @param {number[]|null|undefined} ends */
function between(ends) { return ends ? `${share(ends[0])}–${share(ends[1])}` : ""; }

/** @param {Ranking} ranking */
function drawRates(ranking) {
  const query = queries[state.query];
  return el("dl", { className: "rates" }, ...data.cutoffs.map((k, index) => {
    const mean = ranking.means[""]?.[index];
    return el("div", {}, el("dt", {}, el("span", {}, "detection "), `at ${k}`),
      el("dd", {}, share(ranking.rates[state.query][index])),
      el("dd", { className: "interval" }, between(ranking.intervals[state.query][index])),
      el("dd", { className: "mean", title: "mean over all generated images, each subset counting alike" }, mean ? `mean ${share(mean[0])}, ${between(mean.slice(1))}` : "mean n/a"));
  }), el("div", {}, el("dt", {}, "chance"), el("dd", { className: "chance" }, share(query.chance)), el("dd", { className: "interval" }, "of this subset")));
}
/** @param {Ranking} ranking @param {Ranking[]} others */
function drawRanking(ranking, others) {
  const query = queries[state.query], { top } = listOf(ranking, state.query, state.low);
  const shared = others.length ? top.filter((index) => others.every((other) => listOf(other, state.query, state.low).top.includes(index))).length : 0;
  const what = state.low ? `the ${top.length} of the lowest scores, the strongest opponents first` : `the ${top.length} most influential training images`;
  return el("section", { className: "ranking", "aria-label": `Ranking ${ranking.label}` },
    el("header", {}, el("div", {}, el("div", { className: "name" }, el("h2", {}, ranking.label),
      state.shown.length > 1 ? el("button", { type: "button", className: "remove", "aria-label": `Remove ${ranking.label}`, title: "Remove", onclick: () => setShown(state.shown.filter((index) => index !== ranking.index)) }, "×") : null),
    el("p", { className: "facts" }, others.length ? `${shared} of ${top.length} images are in ${others.length > 1 ? "all" : "both"}` : what)),
    subsets.length ? drawRates(ranking) : null,
    verdict(ranking, state.query), histogram(ranking, state.query),
    notes.has(ranking.label) ? el("p", { className: "note" }, notes.get(ranking.label)) : null),
    top.length ? el("ol", { className: "cards" }, ...cardItems(top.length, (place) => sampleCard(ranking, query, place, state.low, others)))
      : el("p", { className: "empty" }, state.low ? "The page holds no scores of this ranking beyond its list." : "This ranking has no entry for this image."));
}
function drawResults() {
  const shown = state.shown.map((index) => rankings[index]);
  $("results").className = `columns n${shown.length}`;
  $("results").replaceChildren(...shown.map((ranking) => drawRanking(ranking, shown.filter((other) => other !== ranking))));
  for (const [id, low] of [["show-top", false], ["show-low", true]]) $(/** @type {string} */ (id)).setAttribute("aria-pressed", String(state.low === low));
}

// The mean detection rates of the rankings on show, by subset.
function drawTables() {
  /** @param {Ranking} ranking @param {string} subset */
  const row = (ranking, subset) => {
    const members = queries.filter((query) => !subset || query.subset === subset);
    const each = (subset ? [subset] : subsets).map((name) => queries.find((query) => query.subset === name)?.chance ?? 0);
    const chance = each.reduce((sum, value) => sum + value, 0) / each.length;
    return el("tr", {}, el("th", { scope: "row" }, subset || "mean of the subsets"), el("td", {}, String(members.length)),
      ...data.cutoffs.map((_, index) => { const told = ranking.means[subset]?.[index]; return el("td", {}, told ? share(told[0]) : "n/a", told && el("small", {}, ` ${between(told.slice(1))}`)); }), el("td", {}, share(chance)));
  };
  $("tables").replaceChildren(...state.shown.map((index) => rankings[index]).flatMap((ranking) => [
    el("h3", {}, `${subsets.length ? "Mean detection rate" : "Scores"}, ${ranking.label}`),
    el("p", { className: "quiet" }, ranking.lowest <= ranking.highest ? `Scores shown on this page lie between ${number(ranking, ranking.lowest)} and ${number(ranking, ranking.highest)}.` : "This ranking is empty."),
    ...(!subsets.length ? [] : [el("div", { className: "scroll", tabIndex: 0, role: "group", "aria-label": `Detection rates, ${ranking.label}` }, el("table", {},
      el("thead", {}, el("tr", {}, ...["subset", "images", ...data.cutoffs.map((k) => `at ${k}`), "chance"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...[...subsets, ""].map((subset) => row(ranking, subset)))))])]));
}
function drawNotes() {
  const labels = new Set(rankings.map((ranking) => ranking.label));
  $("notes").replaceChildren(...data.notes.filter(([heading]) => !labels.has(heading)).flatMap(([heading, text]) => [el("h3", {}, heading), el("p", {}, text)]));
}
