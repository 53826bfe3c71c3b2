// The training set: how often each image is in a list, what an audit says of it, and where it is.

const STEP = 60;

/** Training images that the filters leave, in order. @param {Uint32Array} times @returns {Sample[]} */
function filterSamples(times) {
  const needle = state.trainText.trim().toLowerCase(), flag = issues.indexOf(state.trainFlag);
  const kept = samples.filter((sample) => (!state.trainSubset || sample.subset === state.trainSubset) && (!needle || sample.text.includes(needle))
    && (!state.trainFlag || sample.flags.some(([issue]) => issue === flag)));
  if (state.trainOrder === "given") return kept;
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
  return kept.sort((a, b) => known[a.index] - known[b.index] || a.index - b.index);
}
/** What drawing and export share: the images that are left, and how often each is listed. */
function trainRows() {
  const ranking = rankings[state.shown[0]], times = timesListed(ranking);
  return { ranking, times, rows: filterSamples(times) };
}
function drawTraining() {
  const { ranking, times, rows } = trainRows(), chance = Math.min(1, data.shown / data.total);
  const expected = chance * queries.length, most = times.reduce((largest, count) => Math.max(largest, count), 1), shown = rows.slice(0, state.trainLimit);
  const never = times.reduce((sum, count) => sum + (count ? 0 : 1), 0) + data.total - samples.length;
  $("train-count").textContent = rows.length === samples.length ? `${rows.length} training images` : `${rows.length} of ${samples.length} training images`;
  $("train-words").textContent = `How often each image is among the first ${data.shown} of the ${queries.length} generated images, by ${ranking.label}. By chance an image would be in ${expected.toFixed(1)} lists (${percent(chance)}); ${never} of ${data.total} are in none.`
    + (complete ? "" : ` This page lists ${samples.length} of the ${data.total} training images: all that a list shows, and the first others. The target explorer_folders makes a folder that lists all.`);
  $("train-list").replaceChildren(...shown.map((sample) => {
    const count = times[sample.index], [low, high] = wilson(count, queries.length);
    const sure = low > chance ? "more than by chance" : high < chance ? "less than by chance" : "";
    const fill = el("i"), tick = el("u");
    fill.style.width = `${(100 * count) / most}%`;
    tick.style.left = `${Math.min(100, (100 * expected) / most)}%`;
    const card = el("button", {
      type: "button", className: `card ${sample.subset === "noise" ? "noise" : "unknown"}`, "data-sample": String(sample.index), title: "Show for which", onclick: () => openSample(sample.index, state.shown[0]),
    }, picture("samples", sample.index, "", 256), el("span", { className: "body" },
      el("span", { className: "row" }, el("b", {}, `${count} of ${queries.length}`), el("span", { className: "quiet" }, percent(count / queries.length))),
      el("span", { className: "bar tally", "aria-hidden": "true" }, fill, tick),
      el("span", { className: "sure" }, `${percent(low)} to ${percent(high)}`, sure && el("b", {}, ` ${sure}`)),
      el("span", { className: "caption", title: sample.prompt }, sample.prompt),
      el("span", { className: "origin", title: sample.origin || sample.id }, [sample.subset === "noise" ? "noised copy" : sourced ? sample.subset : "", sample.origin || sample.id].filter(Boolean).join(" · ")),
      sample.helps?.[1] ? el("span", { className: `elsewhere ${sample.helps[0] < 0 ? "harms" : "helps"}` }, sample.helps[0] < 0 ? "harms its subset" : "helps its subset") : null,
      flagsOf(sample)));
    return el("li", {}, card, markBox(sample.index));
  }));
  $("train-more").hidden = rows.length <= shown.length;
  $("train-more").textContent = `Show ${Math.min(STEP, rows.length - shown.length)} more`;
  $("train-none").hidden = rows.length > 0;
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
    drawTraining();
    $("train-list").children[first]?.querySelector("button")?.focus();
  });
}
