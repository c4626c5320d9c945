// What is searched for, as an address: every search can be gone back to, opened in another tab and kept.

/** @import { QueryDocument, Term } from "./types.js" */

/**
 * @typedef {object} SearchState
 * @property {string} q the words as typed
 * @property {QueryDocument | null} query the parse after it was corrected; null while the words stand as typed
 * @property {readonly Term[]} terms what is added or taken away besides
 * @property {"relevance" | "date"} sort
 * @property {boolean} all also what looks too little like it
 */

/** @type {SearchState} */
export const NOTHING = { q: "", query: null, terms: [], sort: "relevance", all: false };

/** @param {Term} term @returns {string} e.g. "-1*photo:12" */
function written(term) {
  const source = term.photo_id !== undefined ? `photo:${term.photo_id}`
    : term.upload_id !== undefined ? `upload:${term.upload_id}` : `words:${term.words ?? ""}`;
  return `${term.weight}*${source}`;
}

/** @param {string} text @returns {Term | null} null for what no term of ours looks like */
function readTerm(text) {
  const match = /^(-?\d+(?:\.\d+)?)\*(photo|upload|words):(.+)$/su.exec(text);
  if (!match) return null;
  const [, factor, kind, value] = match;
  const weight = Number(factor);
  if (kind === "photo") return { photo_id: Number(value), weight };
  return kind === "upload" ? { upload_id: value, weight } : { words: value, weight };
}

/** A document without its empty slots; the server takes absent ones as empty. @param {QueryDocument} document_ */
function short(document_) {
  return Object.fromEntries(Object.entries(document_).filter(([, value]) =>
    value !== null && value !== "" && !(Array.isArray(value) && !value.length)));
}

/** @param {URLSearchParams} search @returns {SearchState} */
export function readSearch(search) {
  let query = null;
  try {
    query = JSON.parse(search.get("query") ?? "null");
  } catch {
    query = null; // cut off when it was copied: the words are still there
  }
  return {
    q: search.get("q") ?? "",
    query: query !== null && typeof query === "object" ? query : null,
    terms: search.getAll("term").map(readTerm).filter((term) => term !== null),
    sort: search.get("sort") === "date" ? "date" : "relevance",
    all: search.get("all") === "1",
  };
}

/** @param {Partial<SearchState>} state @returns {string} */
export function searchAddress(state) {
  const search = new URLSearchParams();
  if (state.q) search.set("q", state.q);
  if (state.query) search.set("query", JSON.stringify(short(state.query)));
  for (const term of state.terms ?? []) search.append("term", written(term));
  if (state.sort === "date") search.set("sort", "date");
  if (state.all) search.set("all", "1");
  const text = search.toString();
  return text ? `/search?${text}` : "/search";
}

/** @param {SearchState} state does it ask for anything? */
export const isEmpty = (state) => !state.q.trim() && !state.query && !state.terms.length;
