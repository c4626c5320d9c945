// One connection for everything that the server tells by itself: progress of jobs, changes of the library.

import { generation } from "./store.js";

/** @type {Map<string, Set<(data: any) => void>>} */
const listeners = new Map();
/** @type {EventSource | null} */
let source = null;

/** @param {string} kind */
function forward(kind) {
  source?.addEventListener(kind, (event) => {
    if (!(event instanceof MessageEvent)) return;
    const data = event.data ? JSON.parse(event.data) : null;
    for (const listener of listeners.get(kind) ?? []) listener(data);
  });
}

/**
 * Calls `listener` with the data of each event of a kind ("job", "library").
 * @param {string} kind
 * @param {(data: any) => void} listener
 * @returns {() => void} stops it
 */
export function on(kind, listener) {
  let all = listeners.get(kind);
  if (!all) {
    listeners.set(kind, (all = new Set()));
    forward(kind);
  }
  all.add(listener);
  return () => void all.delete(listener);
}

/** Opens the connection; the browser reconnects by itself. Called once we are signed in. */
export function startEvents() {
  if (source) return;
  source = new EventSource("/api/v1/events");
  for (const kind of listeners.keys()) forward(kind);
}

/** @type {number | undefined} */
let pause;
// While indexing runs the library changes many times a second; rooms need not follow each.
const reloadSoon = () => {
  clearTimeout(pause);
  pause = setTimeout(() => void generation.value++, 1500);
};
on("library", reloadSoon);
// The first event of every connection: what happened while there was none is not told again.
let known = /** @type {number | null} */ (null);
on("hello", (data) => {
  if (known !== null && known !== data.generation) reloadSoon();
  known = data.generation;
});
