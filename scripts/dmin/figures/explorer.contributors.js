// Contributors: whose the images of a list are, and what each gave the model where that was measured.

// So many images of a contributor stand beside its name.
const SHOWN_OF_EACH = 8;
const contributed = { game: 0, behaviour: "", estimator: "", order: "list", limit: STEP };

/** Training images by contributor, the first ones of each. @param {Game} game @param {number} query @param {Ranking} ranking @returns {{ listed: number[][], others: number[][] }} */
function imagesByContributor(game, query, ranking) {
  const listed = /** @type {number[][]} */ (game.names.map(() => [])), others = /** @type {number[][]} */ (game.names.map(() => []));
  const top = ranking.top[query], there = new Set(top);
  for (const index of top) listed[game.owners[index]]?.push(index);
  game.owners.forEach((owner, index) => { if (owner >= 0 && others[owner].length < SHOWN_OF_EACH && !there.has(index)) others[owner].push(index); });
  return { listed, others };
}
/** What contributors gave by the estimator that is chosen; null where it was not measured. @param {Game} game @returns {(number|null)[][]|null} */
function measuredRows(game) { return game.measured?.rows[contributed.behaviour]?.[contributed.estimator] ?? null; }
/** Whether more adds to what everyone does: 1, or -1 where everyone together lowers the behaviour. Baselines have no share, but the sign of it. @param {Game} game @param {(number|null)[][]} rows */
function directionOf(game, rows) {
  const told = rows.find(([value, , , part]) => part && value), size = game.measured?.rows[contributed.behaviour]?.size?.[0]?.[0];
  return told ? Math.sign(/** @type {number} */ (told[0]) / /** @type {number} */ (told[3])) : typeof size === "number" && size < 0 ? -1 : 1;
}
/** @typedef {{ place: number, name: string, size: number, count: number, of: number, interval: [number, number]|null, chance: number, mean: number[]|null, images: number[], given: (number|null)[]|null }} ContributorRow */
/** What drawing and export share: the contributors in order, and what was measured of them. @returns {{ game: Game, ranking: Ranking, rows: ContributorRow[], measured: (number|null)[][]|null, towards: number }} */
function contributorRows() {
  const game = data.games[contributed.game], ranking = rankings[state.shown[0]], of = ranking.top[state.query].length, measured = measuredRows(game);
  const { listed, others } = imagesByContributor(game, state.query, ranking), towards = measured ? directionOf(game, measured) : 1;
  const rows = game.names.map((name, place) => ({
    place, name, size: game.sizes[place], count: listed[place].length, of, interval: of ? wilson(listed[place].length, of) : null, chance: game.sizes[place] / data.total,
    mean: game.shares[ranking.index][place], images: [...listed[place], ...others[place]].slice(0, SHOWN_OF_EACH), given: measured ? measured[place] : null,
  }));
  /** @type {Record<string, (row: ContributorRow) => number>} The least comes first. */
  const keys = {
    list: ({ count, mean }) => -count - (mean?.[0] ?? 0),
    mean: ({ mean }) => -(mean?.[0] ?? -1),
    given: ({ given }) => -towards * (given?.[0] ?? -Infinity * towards),
    size: ({ size }) => -size,
    name: ({ place }) => place,
  };
  const key = keys[contributed.order];
  return { game, ranking, measured, towards, rows: rows.sort((a, b) => key(a) - key(b) || a.place - b.place) };
}
/** A value as a bar from zero, its interval, and a mark. @param {number} value @param {number[]|null} ends @param {number} mark @param {number} from @param {number} to */
function spanBar(value, ends, mark, from, to) {
  const fill = el("i", { className: value < 0 ? "against" : "" }), tick = el("u"), whisker = ends ? el("s") : null;
  /** @param {number} x */
  const at = (x) => (100 * (x - from)) / (to - from || 1);
  /** @param {HTMLElement} part @param {number} low @param {number} high */
  const place = (part, low, high) => { part.style.left = `${at(low)}%`; part.style.width = `${at(high) - at(low)}%`; };
  place(fill, Math.min(0, value), Math.max(0, value));
  tick.style.left = `${at(mark)}%`;
  if (whisker && ends) place(whisker, ends[0], ends[1]);
  return el("span", { className: "bar share", "aria-hidden": "true" }, fill, whisker, tick);
}
/** A contribution as a bar, to the right where it goes with everyone's. @param {(number|null)[]} given @param {{ from: number, to: number, towards: number }} span */
function givenBar(given, { from, to, towards }) {
  const [value, ...ends] = given.slice(0, 3).map((end) => (end === null ? null : towards * end)), told = /** @type {number[]} */ (ends.filter((end) => end !== null));
  return spanBar(value ?? 0, told.length === 2 ? told.sort((a, b) => a - b) : null, 0, from, to);
}
/** @param {ContributorRow} row @param {Ranking} ranking @param {number} most @param {{ from: number, to: number, towards: number }} span */
function contributorRow(row, ranking, most, span) {
  const { name, size, count, of, interval, chance, mean, given, images } = row;
  const sure = interval && interval[0] > chance ? "more than by chance" : interval && interval[1] < chance ? "less than by chance" : "";
  return el("tr", {}, el("th", { scope: "row" }, el("span", { className: "who" }, name), el("small", {}, `${whole(size)} training image${size === 1 ? "" : "s"}, ${percent(chance)}`),
    el("span", { className: "thumbs" }, ...images.map((index) => el("button", { type: "button", className: "thumb", "data-sample": String(index), "aria-label": `Training image ${samples[index].origin || samples[index].id}`, onclick: () => openSample(index, ranking.index) }, picture("samples", index, "", 96))))),
  el("td", {}, el("b", {}, of ? `${count} of ${of}` : "n/a"), interval && spanBar(count / of, interval, chance, 0, most), interval && el("small", {}, `${percent(interval[0])} to ${percent(interval[1])}`, sure && el("b", {}, ` ${sure}`))),
  el("td", {}, el("b", {}, mean ? percent(mean[0]) : "n/a"), mean && spanBar(mean[0], mean.slice(1), chance, 0, most), mean && el("small", {}, `${percent(mean[1])} to ${percent(mean[2])}`)),
  data.games[contributed.game].measured ? el("td", {}, ...givenCell(given, span)) : null);
}
/** @param {(number|null)[]|null} given @param {{ from: number, to: number, towards: number }} span */
function givenCell(given, span) {
  if (!given || given[0] === null) return ["n/a"];
  const [value, low, high, part] = given;
  /** @param {number|null} number */
  const short = (number) => (number === null ? "n/a" : Number(number.toPrecision(3)).toString().replace("-", "−"));
  return [el("b", {}, typeof part === "number" ? `${(100 * part).toFixed(1).replace("-", "−")} %` : short(value)), givenBar(given, span), el("small", {}, `${short(value)}${low === null ? "" : `, ${short(low)} to ${short(high)}`}`)];
}
function drawContributors() {
  const { game, ranking, rows, measured, towards } = contributorRows(), query = queries[state.query], shown = rows.slice(0, contributed.limit);
  const most = Math.max(...rows.map(({ count, of, interval, mean, chance }) => Math.max(of ? count / of : 0, interval?.[1] ?? 0, mean?.[2] ?? 0, chance)));
  const ends = (measured ?? []).flatMap((given) => given.slice(0, 3)).filter((end) => typeof end === "number").map((end) => towards * end);
  const span = { from: Math.min(0, ...ends), to: Math.max(0, ...ends), towards };
  $("contributors-title").textContent = `Whose images shaped “${query.name}”?`;
  $("contributors-picture").replaceChildren(picture("queries", state.query, ""));
  $("contributors-words").textContent = `Of the first ${ranking.top[state.query].length} training images by ${ranking.label}, how many are of each contributor, and of the first ${data.shown} of all ${queries.length} generated images, what share in the mean. The mark shows chance: the contributor's share of the training set. A place in a list is no share of credit.`;
  const estimator = game.measured?.estimators.find(([name]) => name === contributed.estimator), behaviour = game.measured?.behaviours.find(([name]) => name === contributed.behaviour);
  $("contributors-measured").textContent = !estimator || !behaviour ? "" : measured ? `Contributed: to ${behaviour[1]}, ${behaviour[0].startsWith("local_") ? "of one image that the game asks about" : "of the model as a whole and not of this image"}, as a share of what everyone together adds to no one. ${estimator[2]}${estimator[3] ? ` Fitted on ${estimator[3]}.` : ""} Orange works against what everyone does.` : `${estimator[1]} does not estimate ${behaviour[1]}.`;
  $("contributors-head").replaceChildren(...["contributor", "in this list", "of all lists, mean", ...(game.measured ? ["contributed"] : [])].map((name) => el("th", { scope: "col" }, name)));
  $("contributors-rows").replaceChildren(...shown.map((row) => contributorRow(row, ranking, most, span)));
  $("contributors-more").hidden = shown.length === rows.length;
  $("contributors-more").textContent = `Show ${Math.min(STEP, rows.length - shown.length)} more`;
}
/** Offer what the game that is chosen has. */
function startGame() {
  const game = data.games[contributed.game], measured = game.measured;
  contributed.behaviour = measured?.behaviours[0]?.[0] ?? "";
  contributed.estimator = measured?.estimators[0]?.[0] ?? "";
  contributed.limit = STEP;
  for (const id of ["contributors-behaviour", "contributors-estimator"]) $(`${id}-field`).hidden = !measured;
  $("contributors-behaviour").replaceChildren(...(measured?.behaviours ?? []).map(([name, label]) => el("option", { value: name }, label)));
  $("contributors-estimator").replaceChildren(...(measured?.estimators ?? []).map(([name, label]) => el("option", { value: name }, label)));
  /** @type {[string, string, boolean][]} */
  const orders = [["list", "most in this list first", true], ["mean", "most in all lists first", true], ["given", "largest contribution first", Boolean(measured)], ["size", "most training images first", true], ["name", "as in the game", true]];
  if (!measured && contributed.order === "given") contributed.order = "list";
  $("contributors-order").replaceChildren(...orders.filter(([, , known]) => known).map(([value, name]) => el("option", { value, selected: value === contributed.order }, name)));
}
function startContributors() {
  $("tab-contributors").hidden = !data.games.length;
  if (!data.games.length) return;
  $("contributors-game-field").hidden = data.games.length < 2;
  $("contributors-game").replaceChildren(...data.games.map(({ game }, place) => el("option", { value: String(place) }, game)));
  startGame();
  $("contributors-game").addEventListener("change", (/** @type {any} */ event) => { contributed.game = Number(event.target.value); startGame(); drawContributors(); });
  for (const key of /** @type {("behaviour"|"estimator"|"order")[]} */ (["behaviour", "estimator", "order"])) $(`contributors-${key}`).addEventListener("change", (/** @type {any} */ event) => { contributed[key] = event.target.value; drawContributors(); });
  $("contributors-more").addEventListener("click", () => { contributed.limit += STEP; drawContributors(); });
}
