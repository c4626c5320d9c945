// The address says what is shown. Rooms are addresses; a photo is an address too, shown over the room that
// it was opened from (kept in the history entry, so that reloading and going back both return to it).

import { computed, signal } from "../vendor/preact.js";

/**
 * @typedef {object} Route
 * @property {string} path
 * @property {URLSearchParams} query
 * @property {string[]} parts path without empty pieces
 */

/**
 * @param {string} address path and query
 * @returns {Route}
 */
function read(address) {
  const url = new URL(address, location.origin);
  return { path: url.pathname, query: url.searchParams, parts: url.pathname.split("/").filter(Boolean).map(decode) };
}

/** @param {string} piece */
function decode(piece) {
  try {
    return decodeURIComponent(piece);
  } catch {
    return piece; // a stray % in the address is no reason to show nothing
  }
}

const here = () => location.pathname + location.search;
const address = signal(here());
const under = signal(/** @type {string} */ (history.state?.under ?? "/"));

/** Id of the photo that the viewer shows; null when it is closed. */
export const openPhoto = computed(() => {
  const match = /^\/photo\/(\d+)$/.exec(new URL(address.value, location.origin).pathname);
  return match ? Number(match[1]) : null;
});

/** Id of the photo that things are cut out of; null when nothing is. */
export const openCut = computed(() => {
  const match = /^\/photo\/(\d+)\/cut$/.exec(new URL(address.value, location.origin).pathname);
  return match ? Number(match[1]) : null;
});

/** Id of the photo that is asked about, the first of several; null when none is. */
export const openAsk = computed(() => {
  const match = /^\/photo\/(\d+)\/ask$/.exec(new URL(address.value, location.origin).pathname);
  return match ? Number(match[1]) : null;
});

/** Ids of all photos that are asked about. */
export const askPhotos = computed(() => {
  const others = new URL(address.value, location.origin).searchParams.get("with") ?? "";
  return openAsk.value === null ? [] : [...new Set([openAsk.value, ...(others.match(/\d+/g) ?? []).map(Number)])];
});

/** The address of asking about photos. @param {readonly number[]} ids */
export const askAddress = ([first, ...others]) => `/photo/${first}/ask${others.length ? `?with=${others.join(",")}` : ""}`;

/** Is there something over the room? */
export const covered = computed(() => openPhoto.value !== null || openCut.value !== null || openAsk.value !== null);

/** The room that is shown, also under an open viewer. */
export const roomAddress = computed(() => (covered.value ? under.value : address.value));
export const route = computed(() => read(roomAddress.value));

/** @type {Map<string, number>} scroll place of each history entry */
const places = new Map();
let entry = String(history.state?.entry ?? "first");

function remember() {
  places.set(entry, window.scrollY);
}

/** @returns {number} where the entry that is shown was scrolled to when it was left; 0 when it is new */
export const rememberedScroll = () => places.get(entry) ?? 0;

/**
 * Goes to an address of the page.
 * @param {string} to
 * @param {{ replace?: boolean, keepRoom?: boolean }} [options] `keepRoom`: shown over the present room (a photo)
 */
export function navigate(to, options = {}) {
  remember();
  const keep = options.keepRoom || /^\/photo\/\d+(\/cut|\/ask(\?.*)?)?$/.test(to);
  const state = { entry: options.replace ? entry : crypto.randomUUID?.() ?? String(Math.random()), under: keep ? roomAddress.peek() : undefined,
    over: keep ? Number(history.state?.over ?? 0) + (options.replace ? 0 : 1) : undefined };
  if (options.replace) history.replaceState(state, "", to);
  else history.pushState(state, "", to);
  entry = state.entry;
  if (!keep) window.scrollTo(0, 0);
  arrive();
}

/** Leaves an open photo: back to the room that it was opened from, or to that room's address after a reload. */
export function closePhoto() {
  const over = Number(history.state?.over ?? 0);
  if (over) history.go(-over); // past all photos that were opened from one another
  else navigate(under.peek(), { replace: true });
}

/** Leaves the cutting of a photo: back to the photo. @param {number} id */
export function closeCut(id) {
  if (history.state?.over) history.back();
  else navigate(`/photo/${id}`, { replace: true });
}

/** Leaves asking: back to the photo or the room that it was opened from. @param {number} id */
export const closeAsk = closeCut;

function arrive() {
  if (history.state?.under) under.value = history.state.under;
  address.value = here();
}

/** Follows links within the page and the browser's back and forward. Called once. */
export function startRouter() {
  history.scrollRestoration = "manual";
  if (!history.state?.entry) history.replaceState({ ...history.state, entry }, "");
  addEventListener("popstate", () => {
    remember();
    entry = String(history.state?.entry ?? "first");
    arrive();
  });
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute("download")) return;
    if (link.origin !== location.origin || /^\/(api|web|docs)\//.test(link.pathname)) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  });
}
