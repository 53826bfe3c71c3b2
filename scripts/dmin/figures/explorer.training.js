// The training set: how often each image is in a list, what an audit says of it, and where it is.

const STEP = 60;
// So many cards fill a screen of the training set.
const FILL = 24;

/** Training images that the filters leave, the first `wanted` or more of them in order, and how many they are. @param {Uint32Array} times @param {number} wanted @returns {{ rows: Sample[], count: number }} */
function filterSamples(times, wanted) {
  const needle = state.trainText.trim().toLowerCase(), flag = issues.indexOf(state.trainFlag);
  let kept = samples.filter((sample) => (!state.trainSubset || sample.subset === state.trainSubset) && (!needle || sample.text.includes(needle))
    && (!state.trainFlag || sample.flags.some(([issue]) => issue === flag)));
  const count = kept.length;
  if (state.trainOrder === "given") return { rows: kept, count };
  const scoreFor = scoresFor(rankings[state.shown[0]], state.query);
  /** @type {Record<string, (sample: Sample) => number>} The least comes first. */
  const keys = {
    most: ({ index }) => -times[index],
    fewest: ({ index }) => times[index],
    flags: ({ flags }) => -flags.length,
    harms: ({ helps }) => helps?.[0] ?? Infinity,
    query: ({ index }) => -(scoreFor(index) ?? -Infinity),
    marked: ({ index }) => (marked.has(index) ? 0 : 1),
  };
  const key = keys[state.trainOrder] ?? keys.most, known = new Float64Array(samples.length);
  for (const sample of kept) known[sample.index] = key(sample);
  if (count > 2 * wanted) {
    // Numbers are sorted many times as fast as images are, of which few are asked for.
    const last = Float64Array.from(kept, ({ index }) => known[index]).sort()[wanted - 1];
    kept = kept.filter(({ index }) => known[index] <= last);
  }
  return { rows: kept.sort((a, b) => known[a.index] - known[b.index] || a.index - b.index), count };
}
/** What drawing and export share: the images that are left, the first `wanted` or more, and how often each is listed. @param {number} wanted */
function trainRows(wanted = Infinity) {
  const ranking = rankings[state.shown[0]], times = timesListed(ranking);
  return { ranking, times, ...filterSamples(times, wanted) };
}
/** Draw the training set, or what comes after the cards that stand. @param {number} from */
function drawTraining(from = 0) {
  const { ranking, times, rows, count } = trainRows(state.trainLimit), chance = Math.min(1, data.shown / data.total), shown = rows.slice(from, state.trainLimit);
  const most = times.reduce((largest, value) => Math.max(largest, value), 1), left = count - from - shown.length;
  const never = times.reduce((sum, value) => sum + (value ? 0 : 1), 0) + data.total - samples.length;
  $("train-count").textContent = count === samples.length ? `${whole(count)} training images` : `${whole(count)} of ${whole(samples.length)} training images`;
  $("train-words").textContent = `How often each image is among the first ${data.shown} of the ${queries.length} generated images, by ${ranking.label}. By chance an image would be in ${(chance * queries.length).toFixed(1)} lists (${percent(chance)}); ${whole(never)} of ${whole(data.total)} are in none.`
    + (complete ? "" : ` This page lists ${whole(samples.length)} of the ${whole(data.total)} training images: all that a list shows, and the first others. The target explorer_folders makes a folder that lists all.`);
  const items = cardItems(shown.length, (place) => trainCard(shown[place], times[shown[place].index], most), FILL);
  if (from) $("train-list").append(...items); else $("train-list").replaceChildren(...items);
  $("train-more").hidden = !left;
  $("train-more").textContent = `Show ${Math.min(STEP, left)} more`;
  $("train-none").hidden = count > 0;
}
/** How often an image is in a list, and what is known of it. @param {Sample} sample @param {number} count @param {number} most The largest count of all. */
function trainCard(sample, count, most) {
  const [low, high] = wilson(count, queries.length), chance = Math.min(1, data.shown / data.total);
  const sure = low > chance ? "more than by chance" : high < chance ? "less than by chance" : "", fill = el("i"), tick = el("u");
  fill.style.width = `${(100 * count) / most}%`;
  tick.style.left = `${Math.min(100, (100 * chance * queries.length) / most)}%`;
  return [el("button", {
    type: "button", className: `card ${sample.subset === "noise" ? "noise" : "unknown"}`, "data-sample": String(sample.index), title: "Show for which", onclick: () => openSample(sample.index, state.shown[0]),
  }, picture("samples", sample.index, "", 256), el("span", { className: "body" },
    el("span", { className: "row" }, el("b", {}, `${count} of ${queries.length}`), el("span", { className: "quiet" }, percent(count / queries.length))),
    el("span", { className: "bar tally", "aria-hidden": "true" }, fill, tick),
    el("span", { className: "sure" }, `${percent(low)} to ${percent(high)}`, sure && el("b", {}, ` ${sure}`)),
    el("span", { className: "caption", title: sample.prompt }, sample.prompt),
    el("span", { className: "origin", title: sample.origin || sample.id }, [sample.subset === "noise" ? "noised copy" : sourced ? sample.subset : "", sample.origin || sample.id].filter(Boolean).join(" · ")),
    sample.helps?.[1] ? el("span", { className: `elsewhere ${sample.helps[0] < 0 ? "harms" : "helps"}` }, sample.helps[0] < 0 ? "harms its subset" : "helps its subset") : null,
    flagsOf(sample))), markBox(sample.index)];
}
/** Draw the training set again from its first images on. */
function refilter() { state.trainLimit = STEP; drawTraining(); }
function startTraining() {
  const box = $("train-chips");
  box.hidden = trainSubsets.length < 2;
  drawChips(box, trainSubsets, state.trainSubset, (subset) => { state.trainSubset = subset; refilter(); });
  $("train-flags-field").hidden = !issues.length;
  $("train-flag").replaceChildren(el("option", { value: "" }, "any or none"), ...issues.map((issue) => el("option", { value: issue }, issue)));
  /** @type {[string, string, boolean][]} */
  const orders = [["most", "in most lists first", true], ["fewest", "in fewest lists first", true], ["query", "by score for the image on show", rankings.some((ranking) => ranking.all !== undefined)],
    ["flags", "most audit flags first", issues.length > 0], ["harms", "most harmful first", samples.some((sample) => sample.helps !== null)], ["marked", "marked first", true], ["given", "as in the data set", true]];
  $("train-order").replaceChildren(...orders.filter(([, , known]) => known).map(([value, name]) => el("option", { value }, name)));
  $("train-search").addEventListener("input", (/** @type {any} */ event) => { state.trainText = event.target.value; refilter(); });
  $("train-flag").addEventListener("change", (/** @type {any} */ event) => { state.trainFlag = event.target.value; refilter(); });
  $("train-order").addEventListener("change", (/** @type {any} */ event) => { state.trainOrder = event.target.value; refilter(); });
  $("train-more").addEventListener("click", () => {
    const first = state.trainLimit;
    state.trainLimit += STEP;
    // Marks may have moved what stands.
    drawTraining(state.trainOrder === "marked" ? 0 : first);
    afterPaint(() => $("train-list").children[first]?.querySelector("button")?.focus());
  });
}
