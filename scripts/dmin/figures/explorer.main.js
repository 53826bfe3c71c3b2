// What is on show, its address, and keys.

const MOST = 4;
/** @type {{ view: string, query: number, shown: number[], low: boolean, sample: number, from: number, subset: string, text: string, order: string,
 *   trainText: string, trainSubset: string, trainFlag: string, trainOrder: string, trainLimit: number }} */
const state = { view: "images", query: 0, shown: [0], low: false, sample: -1, from: 0, subset: "", text: "", order: "given", trainText: "", trainSubset: "", trainFlag: "", trainOrder: "most", trainLimit: STEP };
let visible = queries;
const VIEWS = ["images", "training", "map", "contributors"];

/** Change what is on show. @param {Partial<typeof state>} change @param {boolean} reveal Leave filters that hide the image. */
function show(change, reveal = false) {
  Object.assign(state, change);
  if (reveal && !visible.some((query) => query.index === state.query)) { state.subset = ""; state.text = ""; $("search").value = ""; drawSubsets(); drawList(); }
  for (const pick of $("list").querySelectorAll(".pick")) {
    const current = pick.id === `pick-${state.query}`;
    if (current) pick.setAttribute("aria-current", "true"); else pick.removeAttribute("aria-current");
    pick.tabIndex = current ? 0 : -1;
  }
  drawView(); writeAddress();
  // Once all is drawn, so that it is laid out once.
  requestAnimationFrame(revealCurrent);
}
/** The rows that the view on show is drawn from. @returns {Row[]} */
function rowsOnShow() {
  const map = state.view === "map" ? data.maps[mapState.chosen] : null;
  return [...state.shown.flatMap((index) => rowsFor(rankings[index], state.query)), ...(map ? rowsOf(map) : [])];
}
function drawView() { whenThere(rowsOnShow(), drawViewNow); }
/** Draw the view that is on show, and no other. */
function drawViewNow() {
  for (const view of VIEWS) {
    $(`view-${view}`).hidden = view !== state.view;
    const tab = $(`tab-${view}`);
    if (view === state.view) tab.setAttribute("aria-current", "page"); else tab.removeAttribute("aria-current");
  }
  document.body.dataset.view = state.view;
  $("save-png").hidden = state.view === "training" || state.view === "contributors";
  if (state.view === "images") { drawHero(); drawResults(); drawTables(); }
  else if (state.view === "training") drawTraining();
  else if (state.view === "contributors") drawContributors();
  else drawMapView();
}
/** @param {number} by */
function move(by) {
  if (!visible.length) return;
  const place = visible.findIndex((query) => query.index === state.query);
  const next = place < 0 ? 0 : (place + by + visible.length) % visible.length;
  show({ query: visible[next].index });
}
/** @param {number[]} shown The rankings side by side. */
function setShown(shown) {
  state.shown = [...new Set(shown)].slice(0, MOST);
  drawChoices(); drawList(); drawView(); writeAddress();
}
function drawChoices() {
  const rest = rankings.filter((item) => !state.shown.includes(item.index)), full = state.shown.length >= Math.min(MOST, rankings.length);
  $("ranking").replaceChildren(...rankings.map((item) => el("option", { value: String(item.index), selected: item.index === state.shown[0] }, item.label)));
  $("compare").replaceChildren(el("option", { value: "-1" }, full ? `${state.shown.length} side by side` : state.shown.length > 1 ? "add another…" : "add a ranking…"), ...(full ? [] : rest.map((item) => el("option", { value: String(item.index) }, item.label))));
  $("compare").disabled = full;
}
function drawAll() { drawChoices(); drawSubsets(); drawList(); drawView(); drawNotes(); }

function writeAddress() {
  const address = new URLSearchParams({ q: queries[state.query].id, r: rankings[state.shown[0]].label });
  for (const index of state.shown.slice(1)) address.append("c", rankings[index].label);
  if (state.view !== "images") address.set("v", state.view);
  if (state.low) address.set("o", "1");
  for (const sample of markedSamples()) address.append("m", sample.id);
  if (state.sample >= 0) { address.set("s", samples[state.sample].id); address.set("by", rankings[state.from].label); }
  try { history.replaceState(null, "", `#${address}`); } catch { /* a sandboxed frame may forbid it; the page works without */ }
}
function readAddress() {
  const address = new URLSearchParams(location.hash.slice(1));
  /** @param {any[]} items @param {string} name @param {string|null} value */
  const find = (items, name, value) => items.findIndex((item) => item[name] === value);
  state.query = Math.max(0, find(queries, "id", address.get("q")));
  const compared = address.getAll("c").map((label) => find(rankings, "label", label)).filter((index) => index >= 0);
  state.shown = [...new Set([Math.max(0, find(rankings, "label", address.get("r"))), ...compared])].slice(0, MOST);
  const view = address.get("v") ?? "";
  state.view = VIEWS.includes(view) && !$(`tab-${view}`).hidden ? view : "images";
  state.low = address.get("o") === "1" && !$("show-low").hidden;
  const sample = find(samples, "id", address.get("s")), from = find(rankings, "label", address.get("by"));
  marked.clear();
  const wanted = new Set(address.getAll("m"));
  if (wanted.size) for (const item of samples) if (wanted.has(item.id)) marked.add(item.index);
  drawMarked();
  drawAll();
  if (sample >= 0) openSample(sample, from >= 0 ? from : state.shown[0]);
  else if ($("dialog").open) $("dialog").close();
}

/** @param {string} theme @param {boolean} keep */
function setTheme(theme, keep) {
  document.documentElement.dataset.theme = theme;
  $("theme").textContent = theme === "dark" ? "Light" : "Dark";
  $("theme").setAttribute("aria-label", `${theme === "dark" ? "Light" : "Dark"} theme`);
  if (state.view === "map") drawMap();
  if (keep) try { localStorage.setItem("dmin-theme", theme); } catch { /* pages opened from a file may have no storage */ }
}
function firstTheme() {
  try { const kept = localStorage.getItem("dmin-theme"); if (kept === "dark" || kept === "light") return kept; } catch { /* as above */ }
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

for (const view of VIEWS) $(`tab-${view}`).addEventListener("click", () => show({ view }));
for (const [id, low] of /** @type {[string, boolean][]} */ ([["show-top", false], ["show-low", true]])) $(id).addEventListener("click", () => show({ low }));
$("ranking").addEventListener("change", (/** @type {any} */ event) => {
  const chosen = Number(event.target.value), place = state.shown.indexOf(chosen);
  // What stood first takes the place of what comes there.
  setShown(state.shown.map((index, at) => (at === 0 ? chosen : at === place ? state.shown[0] : index)));
});
$("compare").addEventListener("change", (/** @type {any} */ event) => { const chosen = Number(event.target.value); if (chosen >= 0) setShown([...state.shown, chosen]); });
$("order").addEventListener("change", (/** @type {any} */ event) => { state.order = event.target.value; drawList(); drawHero(); });
$("search").addEventListener("input", (/** @type {any} */ event) => { state.text = event.target.value; drawList(); keepVisible(); if (state.view === "images") drawHero(); });
$("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark", true));
$("about-button").addEventListener("click", () => { if (state.view !== "images") show({ view: "images" }); $("about").scrollIntoView({ block: "start" }); $("about").focus({ preventScroll: true }); });
$("skip").addEventListener("click", (/** @type {Event} */ event) => { event.preventDefault(); $("main").focus(); });
$("dialog").addEventListener("close", () => { state.sample = -1; writeAddress(); });
for (const id of ["dialog", "light"]) $(id).addEventListener("click", (/** @type {Event} */ event) => { if (event.target === $(id)) $(id).close(); });
window.addEventListener("hashchange", readAddress);
document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.ctrlKey || event.metaKey || event.altKey || $("light").open) return;
  if ($("dialog").open) { if (event.key === "m" && !target.closest("select")) setMarked([state.sample], !marked.has(state.sample)); return; }
  const search = state.view === "training" ? $("train-search") : $("search");
  if (event.key === "Escape" && target === $("search")) {
    state.text = $("search").value = ""; drawList(); drawView();
    ($(`pick-${state.query}`) ?? $("search")).focus();
  } else if (target.closest("input, select, textarea")) {
    if (event.key === "Enter" && target === $("search")) $("list").querySelector(".pick")?.focus();
  } else if (event.key === "/") { event.preventDefault(); search.focus(); search.select(); }
  else if (["1", "2", "3", "4"].includes(event.key)) { const view = VIEWS[Number(event.key) - 1]; if (!$(`tab-${view}`).hidden) show({ view }); }
  else if (event.key === "m" && markFocused(target)) event.preventDefault();
  else if (state.view === "training") return;
  else if (event.key === "ArrowLeft" || event.key === "ArrowRight") { event.preventDefault(); moveKeepingFocus(target, event.key === "ArrowRight" ? 1 : -1); }
  else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && target.closest(".pick")) { event.preventDefault(); moveKeepingFocus(target, event.key === "ArrowDown" ? 1 : -1); }
});
/** @param {HTMLElement} target @param {number} by */
function moveKeepingFocus(target, by) {
  const inList = target.closest(".pick");
  move(by);
  if (inList) $(`pick-${state.query}`)?.focus();
}
const head = $("head");
new ResizeObserver(() => document.documentElement.style.setProperty("--top", `${head.offsetHeight}px`)).observe(head);
$("tab-map").hidden = !data.maps.length;
$("show-low").hidden = !rankings.some((ranking) => ranking.low);
$("sides").hidden = $("show-low").hidden;
$("map-colour-field").hidden = !rankings.some((ranking) => ranking.all !== undefined);
startTraining(); startMap(); startContributors(); startFiles(); startMarks();
setTheme(firstTheme(), false);
readAddress();
