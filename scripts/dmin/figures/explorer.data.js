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
 * @typedef {{ id: string, subset: string, prompt: string, label: string, origin: string, index: number, flags: [number, string][], helps: [number, boolean]|null, text: string }} Sample
 * @typedef {{ name: string, explained: number[], spans: number[], samples: number, queries: number|null, levels: number }} StoredMap
 * @typedef {{ run: string, notes: [string, string][], shown: number, cutoffs: number[], total: number, confidence: number, quantile: number,
 *   queries: [string, string, string, string, string, number|null][], samples: [string, string, string, string, string][],
 *   pictures: { queries: Pictures, samples: Pictures }, rankings: StoredRanking[], maps: StoredMap[],
 *   parts: [number, number, Record<string, [string, number][]>][],
 *   audit: null | { issues: string[], flags: [number, number, string][], helps: [number, number, boolean][] } }} PageData
 * @typedef {"queries"|"samples"} Kind
 */

/** @param {string} id @returns {any} An element that the page has. */
const $ = (id) => document.getElementById(id);

/** @type {PageData} */
const data = JSON.parse($("data").textContent);
const queries = data.queries.map(([id, subset, prompt, seed, file, chance], index) => /** @type {Query} */ ({
  id, subset, prompt, seed, file, chance, index, name: prompt || file || id, text: `${prompt} ${file} ${id} ${subset}`.toLowerCase(),
}));
const samples = data.samples.map(([id, subset, prompt, label, origin], index) => /** @type {Sample} */ ({
  id, subset, prompt, label, origin, index, flags: [], helps: null, text: `${prompt} ${label} ${origin} ${id} ${subset}`.toLowerCase(),
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

/** The bytes of a blob. @param {number} place */
function bytesOf(place) {
  const text = atob($(`blob-${place}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}
/** @type {Map<number, Uint16Array>} */
const arrays = new Map();
/** Unsigned integers of 16 bits, decoded once. @param {number} place */
function levelsOf(place) {
  let found = arrays.get(place);
  if (!found) { found = new Uint16Array(bytesOf(place).buffer); arrays.set(place, found); }
  return found;
}

/** Extent of scores, with zero inside, and digits that keep three significant places of the largest. @param {number[]} scores */
function extent(scores) {
  let lowest = Infinity, highest = -Infinity;
  for (const score of scores) { if (score < lowest) lowest = score; if (score > highest) highest = score; }
  const size = Math.max(Math.abs(lowest), Math.abs(highest));
  const digits = scores.length && size > 0 ? 2 - Math.floor(Math.log10(size)) : 2;
  return { lowest, highest, from: Math.min(0, lowest), to: Math.max(0, highest), digits };
}
/** The level of a training image for a query; null where the page does not hold it. @param {Ranking} ranking @param {number} query @param {number} sample */
function levelOf(ranking, query, sample) {
  return ranking.all === undefined ? null : levelsOf(ranking.all)[query * samples.length + sample];
}
/** Its score, off by at most half a level beyond the lists. @param {Ranking} ranking @param {number} query @param {number} sample @returns {number|null} */
function scoreOf(ranking, query, sample) {
  for (const [list, scores] of /** @type {[number[][], number[][]][]} */ ([[ranking.top, ranking.scores], [ranking.low ?? [], ranking.low_scores ?? []]])) {
    const place = list[query] ? list[query].indexOf(sample) : -1;
    if (place >= 0) return scores[query][place];
  }
  const level = levelOf(ranking, query, sample);
  if (level === null || !ranking.spread) return null;
  const [low, high] = ranking.spread.ends[query];
  return low + (level / 65535) * (high - low);
}
/** Where a training image stands in the list of a query: its rank from 1, or 0. @param {Ranking} ranking @param {number} query @param {number} sample */
function rankOf(ranking, query, sample) { return ranking.top[query].indexOf(sample) + 1; }
/** Its rank among all training images, or 0 where the page cannot tell. @param {Ranking} ranking @param {number} query @param {number} sample */
function placeOf(ranking, query, sample) {
  const rank = rankOf(ranking, query, sample), level = complete ? levelOf(ranking, query, sample) : null;
  if (rank || level === null || ranking.all === undefined) return rank;
  const levels = levelsOf(ranking.all), start = query * samples.length;
  let above = 0;
  for (let at = start; at < start + samples.length; at += 1) if (levels[at] > level) above += 1;
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
/** @param {number|null|undefined} value */
function share(value) { return value === null || value === undefined ? "n/a" : value.toFixed(2); }
/** @param {number} value */
function percent(value) { return `${(100 * value).toFixed(value < 0.095 ? 1 : 0)} %`; }
/** @param {number} value */
function probability(value) { return value < 0.001 ? "p < .001" : `p = ${value.toFixed(value < 0.1 ? 3 : 2).replace(/^0/, "")}`; }
