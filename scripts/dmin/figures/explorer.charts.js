// The distribution of a query's scores.

const BINS = 48;

/**
 * How all training images score for a query, the listed ones marked and, where it is known, from where on scores are significant.
 * @param {Ranking} ranking @param {number} query
 */
function histogram(ranking, query) {
  const counts = ranking.spread && rowOf(ranking.spread.counts, query, BINS);
  if (!ranking.spread || !counts) return null;
  const [low, high] = ranking.spread.ends[query], span = high - low || 1;
  const most = Math.sqrt(Math.max(...counts)) || 1, scores = ranking.scores[query];
  /** @param {number} score */
  const at = (score) => (100 * (score - low)) / span;
  const cut = scores.length ? at(scores[scores.length - 1]) : 100;
  const bars = [...counts].map((count, bin) => {
    const height = count ? Math.max(1.5, 38 * (Math.sqrt(count) / most)) : 0, left = (100 * bin) / BINS;
    return svg("rect", { x: left + 0.15, y: 40 - height, width: 100 / BINS - 0.3, height, class: left + 100 / BINS > cut ? "in" : "out" });
  });
  const zero = low < 0 && high > 0 ? svg("line", { x1: at(0), x2: at(0), y1: 2, y2: 40, class: "zero" }) : null;
  const line = significanceOf(ranking, query);
  const words = `Scores of all ${whole(data.total)} training images from ${number(ranking, low)} to ${number(ranking, high)}; the first ${scores.length} from ${scores.length ? number(ranking, scores[scores.length - 1]) : "n/a"} on`
    + (line === null ? "" : `; significant from ${number(ranking, line)} on`);
  return el("figure", { className: "histogram" },
    svg("svg", { viewBox: "0 0 100 41", preserveAspectRatio: "none", role: "img", "aria-label": words },
      ...bars, zero, svg("line", { x1: 0, x2: 100, y1: 40, y2: 40, class: "axis" }),
      ...scores.map((score) => svg("line", { x1: at(score), x2: at(score), y1: 36.5, y2: 40, class: "tick" })),
      line === null ? null : svg("line", { x1: at(line), x2: at(line), y1: 0, y2: 40, class: "significance" })),
    el("figcaption", {}, el("span", {}, number(ranking, low)),
      el("span", {}, line === null ? `all ${whole(data.total)}, the first ${scores.length} marked` : `dashed: significant from ${number(ranking, line)} on`),
      el("span", {}, number(ranking, high))));
}
/** The lowest score of a query that is significant; null where none is known to be. @param {Ranking} ranking @param {number} query */
function significanceOf(ranking, query) {
  const told = ranking.judged?.[query]?.significant;
  const found = told ? ranking.scores[query].filter((_, place) => told[place]) : [];
  return found.length ? Math.min(...found) : null;
}
/** What is known of how reliable a query's list is. @param {Ranking} ranking @param {number} query */
function verdict(ranking, query) {
  const told = ranking.judged?.[query]?.significant?.filter((value) => value !== null);
  if (!told || !told.length) return null;
  const count = told.filter(Boolean).length;
  return el("p", { className: `verdict${count ? "" : " none"}` }, count ? `${count} of the ${told.length} shown are significant` : "No reliable influence: none of those shown is significant");
}
