// The answer to a search: how it was understood, the photos with the reason for each, and what comes closest
// when nothing fits.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { api, query as queryString } from "../lib/api.js";
import { monthName, said, t } from "../lib/i18n.js";
import { answered } from "../lib/picture-search.js";
import { navigate } from "../lib/router.js";
import { isEmpty, readSearch, searchAddress } from "../lib/search-state.js";
import { card, cardsVersion, keepCards } from "../lib/store.js";
import { Button } from "../parts/button.js";
import { Chips } from "../parts/chips.js";
import { Icon } from "../parts/icon.js";
import { Grid } from "../parts/photo-grid.js";
import { SUGGESTION_ICONS } from "../parts/search-box.js";
import { Failed, Loading } from "../parts/states.js";
import { toastError } from "../parts/toast.js";

/** @import { Route } from "../lib/router.js" */
/** @import { SearchState } from "../lib/search-state.js" */
/** @import { Answer, Hit, PhotoSequence, QueryDocument, Suggestion } from "../lib/types.js" */
/** @import { GridData } from "../parts/grid/view.js" */

const PAGE = 100;
/** Answers that were shown, so that going back shows them at once and where they were scrolled to. */
const KEPT = 8;
/** @typedef {{ answer: Answer, hits: Hit[], cursor: string | null }} Results */
/** @type {Map<string, Results>} */
const kept = new Map();

/**
 * @param {SearchState} state @param {string | null} cursor @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 */
function ask(state, cursor, signal) {
  const { sort, all } = state;
  if (!state.query && !state.terms.length) {
    return api.get(`/search${queryString({ q: state.q, k: PAGE, sort, all, cursor })}`, { signal });
  }
  const options = { cursor, k: PAGE, sort, all, terms: state.terms };
  // Terms are added to words that were never corrected: the parse of the words is the query.
  const query = state.query ? Promise.resolve(state.query)
    : state.q ? api.get(`/parse${queryString({ q: state.q })}`, { signal }).then((parse) => parse.query) : Promise.resolve({});
  return query.then((document_) => api.post("/search", { query: document_, ...options }, { signal }));
}

/**
 * The answer to what the address asks for, growing page by page.
 * @param {SearchState} state @param {string} address
 */
function useSearch(state, address) {
  const [results, setResults] = useState(/** @type {Results | null} */ (kept.get(address) ?? null));
  const [error, setError] = useState(/** @type {unknown} */ (null));
  const [shown, setShown] = useState(kept.has(address) ? address : "");
  const [round, setRound] = useState(0);
  /** Aborted once the address asks for something else: an answer that was on its way is not shown under it. */
  const asking = useRef(new AbortController());
  /** @param {Results} fresh */
  const keep = (fresh) => {
    kept.delete(address);
    kept.set(address, fresh);
    if (kept.size > KEPT) kept.delete(/** @type {string} */ (kept.keys().next().value));
    answered.current = fresh.answer.query;
    setResults(fresh);
    setShown(address);
  };
  useEffect(() => {
    setError(null);
    const stop = new AbortController();
    asking.current = stop;
    const before = kept.get(address);
    if (before) keep(before);
    else if (!isEmpty(state)) {
      ask(state, null, stop.signal).then((answer) => {
        if (stop.signal.aborted) return;
        keepCards([...answer.hits, ...answer.closest]);
        keep({ answer, hits: answer.hits, cursor: answer.cursor });
      }, (refused) => { if (!stop.signal.aborted) setError(refused); });
    }
    return () => { stop.abort(); };
  }, [address, round]);
  const more = useMemo(() => {
    let busy = false;
    return () => {
      const now = kept.get(address);
      if (busy || !now?.cursor) return;
      busy = true;
      const { signal } = asking.current;
      ask({ ...state, query: now.answer.query, terms: [] }, now.cursor, signal).then((answer) => {
        if (signal.aborted) return;
        keepCards(answer.hits);
        keep({ answer: now.answer, hits: [...now.hits, ...answer.hits], cursor: answer.cursor });
      }, (refused) => { if (!signal.aborted) toastError(refused); }).finally(() => { busy = false; });
    };
  }, [address]);
  return { results, error, more, shown, stale: shown !== address, retry: () => setRound((before) => before + 1) };
}

/**
 * @param {readonly Hit[]} hits @param {boolean} complete @param {boolean} byDate @param {() => void} more
 * @returns {{ data: GridData, order: PhotoSequence }}
 */
function prepare(hits, complete, byDate, more) {
  /** @type {{ key: string, start: number, count: number }[]} */
  const sections = [];
  for (const [index, hit] of hits.entries()) {
    const key = byDate ? (hit.taken_at ?? "").slice(0, 7) : "";
    const last = sections.at(-1);
    if (last && last.key === key) last.count++;
    else sections.push({ key, start: index, count: 1 });
  }
  return {
    data: {
      ids: hits.map((hit) => hit.id),
      ratios: hits.map((hit) => hit.width / hit.height || 1),
      version: (index) => hits[index]?.version ?? "",
      sections, complete,
      heading: (section) => (byDate ? monthName(section.key || null) : ""),
      why: (index) => said(hits[index]?.why),
    },
    order: {
      count: () => hits.length,
      idAt: (index) => hits[index].id,
      indexOf: (id) => hits.findIndex((hit) => hit.id === id),
      ratioAt: (index) => hits[index].width / hits[index].height || 1,
      versionAt: (index) => hits[index].version,
      momentAt: (index) => hits[index].moment,
      near: (index) => { if (index > hits.length - 10) more(); },
    },
  };
}

/** What can be asked for, while nothing is. */
function Examples() {
  const [all, setAll] = useState(/** @type {Suggestion[]} */ ([]));
  useEffect(() => { api.get("/suggestions").then((answer) => setAll(answer.suggestions), () => undefined); }, []);
  return html`<div class="empty examples"><${Icon} name="search" size=${44} /><h2>${t("search.box")}</h2><p>${t("search.how")}</p>
    ${all.length > 0 && html`<h3>${t("search.examples")}</h3>
      <div class="row">${all.map((one) => html`<a key=${one.label.en} class="chip" href=${searchAddress({ q: said(one.query) })}>
        <${Icon} name=${SUGGESTION_ICONS[one.kind]} size=${16} />${said(one.label)}</a>`)}</div>`}</div>`;
}

/** @param {{ answer: Answer, state: SearchState }} properties */
function Heading({ answer, state }) {
  /** @param {Partial<SearchState>} change */
  const other = (change) => navigate(searchAddress({ ...state, ...change }));
  return html`<div class="search-line">
    <p role="status" class=${answer.total ? "found" : "hidden-visually"}>${answer.total ? t("search.found", { count: answer.total }) : t("search.none")}</p>
    ${answer.total > 1 && html`<div class="segments" role="group" aria-label=${t("search.sort")}>
      ${/** @type {const} */ (["relevance", "date"]).map((sort) => html`<button key=${sort} type="button" class="segment"
        aria-pressed=${String(state.sort === sort)} onClick=${() => other({ sort })}>${t(`search.sort_${sort}`)}</button>`)}</div>`}
  </div>
  ${answer.verdict === "weak" && html`<p class="notice"><${Icon} name="info" size=${18} />${t("search.weak")}</p>`}`;
}

/** Nothing fits: what was said, why, and apart from it what comes closest. @param {{ answer: Answer }} properties */
function Nothing({ answer }) {
  const note = said(answer.note);
  const closest = useMemo(() => prepare(answer.closest, true, false, () => undefined), [answer]);
  return html`<div class="nothing"><${Icon} name="search-x" size=${44} /><h2>${t("search.none")}</h2>${note && html`<p>${note}</p>`}</div>
    ${answer.closest.length > 0 && html`<section class="closest" aria-labelledby="closest">
      <h2 id="closest" class="room-lead">${t("search.closest")}</h2>
      <${Grid} data=${closest.data} sequence=${closest.order} label=${t("search.closest")} /></section>`}`;
}

/** @param {{ route: Route }} properties */
export default function Search({ route }) {
  const address = `${route.path}?${route.query}`;
  const state = useMemo(() => readSearch(route.query), [address]);
  const { results, error, more, shown, stale, retry } = useSearch(state, address);
  const byDate = state.sort === "date";
  void cardsVersion.value;
  // What was hidden since the answer came leaves it at once.
  const gone = results?.hits.filter((hit) => card(hit.id)?.hidden).map((hit) => hit.id).join() ?? "";
  const prepared = useMemo(() => {
    const hits = results?.hits.filter((hit) => !card(hit.id)?.hidden);
    return results && hits ? prepare(hits, !results.cursor, byDate && !stale, more) : null;
  }, [results, byDate, stale, gone]);
  useEffect(() => () => { answered.current = null; }, []);
  /** @param {QueryDocument} query */
  const correct = (query) => {
    const next = { ...state, query, terms: [] };
    const left = Object.entries(query).some(([key, value]) => key !== "said" && key !== "readings" &&
      value !== null && value !== "" && !(Array.isArray(value) && !value.length));
    navigate(left ? searchAddress(next) : "/search");
  };
  if (isEmpty(state)) return html`<div class="photo-room"><h1 class="hidden-visually">${t("search.title")}</h1><${Examples} /></div>`;
  const answer = results?.answer;
  // The grid's key is the answer that it shows: another answer is another grid, at its own scroll place.
  return html`<div class=${stale ? "photo-room stale" : "photo-room"} aria-busy=${String(stale)}>
    <h1 class="hidden-visually">${t("search.title")}: ${state.q}</h1>
    ${error && html`<${Failed} error=${error} retry=${retry} />`}
    ${!error && !answer && html`<${Loading} label=${t("search.loading")} />`}
    ${!error && answer && html`
      <div class="search-head room-lead">
        <${Chips} chips=${answer.chips} query=${answer.query} onQuery=${correct} />
        <${Heading} answer=${answer} state=${state} />
      </div>
      ${prepared && results && (results.hits.length
        ? html`<${Grid} key=${shown} data=${prepared.data} sequence=${prepared.order} label=${t("search.title")} onEnd=${more} />
          ${!results.cursor && html`<div class="search-end"><span class="soft">${t("search.end")}</span>
            <${Button} kind="quiet" onClick=${() => navigate(searchAddress({ ...state, all: !state.all }))}>${t(state.all ? "search.all_off" : "search.all")}<//></div>`}`
        : !stale && html`<${Nothing} answer=${answer} />`)}`}
  </div>`;
}
