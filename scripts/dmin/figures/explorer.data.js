"use strict";
// What the page holds, decoded when it is first shown.

/**
 * @typedef {{ side: number, columns: number, lossless: boolean, sheets: number[], cells: number[], sizes: [number, number][], large: Record<string, number> }} Pictures
 * @typedef {{ p_value?: (number|null)[], low?: (number|null)[], high?: (number|null)[], significant?: (boolean|null)[] }} Judged
 * @typedef {{ label: string, top: number[][], scores: number[][], low?: number[][], low_scores?: number[][],
 *   rates: (number|null)[][], intervals: ([number, number]|null)[][], means: Record<string, ([number, number, number]|null)[]>,
 *   judged?: Judged[], spread?: { ends: [number, number][], counts: number }, all?: number }} StoredRanking
 * @typedef {StoredRanking & { index: number, lowest: number, highest: number, from: number, to: number, digits: number }} Ranking
 * @typedef {{ id: string, subset: string, prompt: string, seed: string, file: string, chance: number|null, index: number, name: string, text: string }} Query
 * @typedef {{ id: string, subset: string, prompt: string, label: string, origin: string, file: string, index: number, flags: [number, string][], helps: [number, boolean]|null, text: string }} Sample
 * @typedef {{ name: string, explained: number[], spans: number[], samples: number, queries: number|null, levels: number }} StoredMap
 * @typedef {{ behaviours: [string, string][], estimators: [string, string, string, string][], rows: Record<string, Record<string, (number|null)[][]>> }} Measured
 * @typedef {{ game: string, names: string[], sizes: number[], owners: number[], shares: (number[]|null)[][], measured: Measured|null }} Game
 * @typedef {{ run: string, notes: [string, string][], shown: number, cutoffs: number[], total: number, confidence: number, quantile: number,
 *   queries: [string, string, string, string, string, number|null][], samples: [string, string, string, string, string, string?][],
 *   pictures: { queries: Pictures, samples: Pictures }, rankings: StoredRanking[], maps: StoredMap[],
 *   parts: [number, number, Record<string, [string, number][]>][], games: Game[],
 *   folder?: { piece: number, perFolder: number, pixels: number }, audit: null | { issues: string[], flags: [number, number, string][], helps: [number, number, boolean][] } }} PageData
 * @typedef {"queries"|"samples"} Kind
 * @typedef {[number, number, number]} Row Of a blob of numbers: its place, the row, and how wide rows are.
 */

/** @param {string} id @returns {any} An element that the page has. */
const $ = (id) => document.getElementById(id);

/** @type {PageData} */
const data = JSON.parse($("data").textContent);
const queries = data.queries.map(([id, subset, prompt, seed, file, chance], index) => /** @type {Query} */ ({
  id, subset, prompt, seed, file, chance, index, name: prompt || file || id, text: `${prompt} ${file} ${id} ${subset}`.toLowerCase(),
}));
const samples = data.samples.map(([id, subset, prompt, label, origin, file], index) => /** @type {Sample} */ ({
  id, subset, prompt, label, origin, file: subset === "noise" ? "" : file ?? origin, index, flags: [], helps: null, text: `${prompt} ${label} ${origin} ${id} ${subset}`.toLowerCase(),
}));
for (const [sample, issue, evidence] of data.audit?.flags ?? []) samples[sample].flags.push([issue, evidence]);
for (const [sample, value, sure] of data.audit?.helps ?? []) samples[sample].helps = [value, sure];
// Influence maps by query and training image.
const partsOf = new Map(data.parts.map(([query, sample, kinds]) => [`${query} ${sample}`, kinds]));
const issues = data.audit?.issues ?? [];
const notes = new Map(data.notes);
const rankings = data.rankings.map((ranking, index) => /** @type {Ranking} */ ({ ...ranking, index, ...extent([...ranking.scores.flat(), ...(ranking.low_scores ?? []).flat()]) }));
// Empty where the subsets of the generated images are unknown.
const subsets = [...new Set(queries.map((query) => query.subset).filter(Boolean))].sort();
const trainSubsets = [...new Set(samples.map((sample) => sample.subset))].sort();
// Of a single source, its name says nothing.
const sourced = trainSubsets.length > 1;
// Ranks beyond the lists are known only where all training images are listed.
const complete = samples.length === data.total;

/** Unsigned integers of 16 bits. @param {string} base64 */
function levelsIn(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return new Uint16Array(bytes.buffer);
}

/** Extent of scores, with zero inside, and digits that keep three significant places of the largest. @param {number[]} scores */
function extent(scores) {
  let lowest = Infinity, highest = -Infinity;
  for (const score of scores) { if (score < lowest) lowest = score; if (score > highest) highest = score; }
  const size = Math.max(Math.abs(lowest), Math.abs(highest));
  const digits = scores.length && size > 0 ? 2 - Math.floor(Math.log10(size)) : 2;
  return { lowest, highest, from: Math.min(0, lowest), to: Math.max(0, highest), digits };
}
/** The levels of all training images for a query; null where the page does not hold them. @param {Ranking} ranking @param {number} query */
function levelsFor(ranking, query) {
  return ranking.all === undefined ? null : rowOf(ranking.all, query, samples.length);
}
/** The rows that a ranking of a query is drawn from. @param {Ranking} ranking @param {number} query @returns {Row[]} */
function rowsFor(ranking, query) {
  return [...(ranking.spread ? [/** @type {Row} */ ([ranking.spread.counts, query, BINS])] : []), ...(ranking.all === undefined ? [] : [/** @type {Row} */ ([ranking.all, query, samples.length])])];
}
/** The scores of training images for a query, off by at most half a level beyond the lists. @param {Ranking} ranking @param {number} query @returns {(sample: number) => number|null} */
function scoresFor(ranking, query) {
  const levels = levelsFor(ranking, query), [low, high] = ranking.spread?.ends[query] ?? [0, 0], listed = new Map();
  for (const { top, scores } of [listOf(ranking, query, true), listOf(ranking, query, false)]) top.forEach((sample, place) => listed.set(sample, scores[place]));
  return (sample) => listed.get(sample) ?? (levels ? low + (levels[sample] / 65535) * (high - low) : null);
}
/** @param {Ranking} ranking @param {number} query @param {number} sample */
function scoreOf(ranking, query, sample) { return scoresFor(ranking, query)(sample); }
/** Where a training image stands in the list of a query: its rank from 1, or 0. @param {Ranking} ranking @param {number} query @param {number} sample */
function rankOf(ranking, query, sample) { return ranking.top[query].indexOf(sample) + 1; }
/** Its rank among all training images, or 0 where the page cannot tell. @param {Ranking} ranking @param {number} query @param {number} sample */
function placeOf(ranking, query, sample) {
  const rank = rankOf(ranking, query, sample), levels = rank || !complete ? null : levelsFor(ranking, query);
  if (!levels) return rank;
  const level = levels[sample];
  let above = 0;
  for (let at = 0; at < levels.length; at += 1) if (levels[at] > level) above += 1;
  return above + 1;
}
/** Images by rank or, of opponents, from the lowest score on. @param {Ranking} ranking @param {number} query @param {boolean} low */
function listOf(ranking, query, low) {
  return low ? { top: ranking.low?.[query] ?? [], scores: ranking.low_scores?.[query] ?? [], judged: undefined }
    : { top: ranking.top[query], scores: ranking.scores[query], judged: ranking.judged?.[query] };
}
/** In how many lists of a ranking each training image is. @param {Ranking} ranking */
function timesListed(ranking) {
  const times = new Uint32Array(samples.length);
  for (const list of ranking.top) for (const sample of list) times[sample] += 1;
  return times;
}
/** Wilson's interval of a share. @param {number} hits @param {number} trials @returns {[number, number]} */
function wilson(hits, trials) {
  const square = data.quantile ** 2 / trials, rate = hits / trials;
  const half = Math.sqrt(square * (rate * (1 - rate) + square / 4));
  return [Math.max(0, (rate + square / 2 - half) / (1 + square)), Math.min(1, (rate + square / 2 + half) / (1 + square))];
}
/** @param {Query} query @param {Sample} sample */
function kindOf(query, sample) {
  return sample.subset === "noise" ? "noise" : !query.subset ? "unknown" : sample.subset === query.subset ? "hit" : "other";
}

/** @param {Ranking} ranking @param {number} score */
function number(ranking, score) {
  return (ranking.digits > 5 ? score.toExponential(2) : score.toFixed(Math.max(0, ranking.digits))).replace("-", "−");
}
/** @param {number} count */
function whole(count) { return count.toLocaleString("en"); }
/** @param {number|null|undefined} value */
function share(value) { return value === null || value === undefined ? "n/a" : value.toFixed(2); }
/** @param {number} value */
function percent(value) { return `${(100 * value).toFixed(value < 0.095 ? 1 : 0)} %`; }
/** @param {number} value */
function probability(value) { return value < 0.001 ? "p < .001" : `p = ${value.toFixed(value < 0.1 ? 3 : 2).replace(/^0/, "")}`; }
