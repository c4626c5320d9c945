// What more than one part of the page knows: cards of photos, marks, the selection, the generation of the
// library. Signals, so that whoever reads them is drawn anew.

import { signal } from "../vendor/preact.js";
import { api } from "./api.js";

/** @import { Card, PhotoSequence } from "./types.js" */

/** Ids of the photos that are selected in the room that is open. */
export const selection = signal(/** @type {ReadonlySet<number>} */ (new Set()));

/** What the open room shows, in its order: the viewer walks through it. */
export const sequence = signal(/** @type {PhotoSequence | null} */ (null));

/** Grows when photos were added, changed or marked; rooms that show lists load them again. */
export const generation = signal(0);

/** Grows whenever cards in the cache changed. */
export const cardsVersion = signal(0);

/** @type {Map<number, Card>} */
const cards = new Map();
/** @type {Set<number>} */
const wanted = new Set();
let scheduled = false;
const BATCH = 100;
const KEPT = 20_000;

/** @param {number} id @returns {Card | undefined} what is known already */
export const card = (id) => cards.get(id);

/** @param {readonly Card[]} fresh Cards that came with another answer. */
export function keepCards(fresh) {
  if (!fresh.length) return;
  if (cards.size > KEPT) cards.clear();
  for (const one of fresh) cards.set(one.id, one);
  cardsVersion.value++;
}

async function fetchWanted() {
  scheduled = false;
  const ids = [...wanted].slice(-BATCH);
  for (const id of ids) wanted.delete(id);
  if (wanted.size > BATCH * 4) wanted.clear(); // scrolled by long ago
  try {
    keepCards((await api.get(`/photos?ids=${ids.join(",")}`)).photos);
  } catch {
    return; // a card only adds badges and a name, and is asked for again when its photo is next in sight
  }
  if (wanted.size) schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  setTimeout(fetchWanted, 60);
}

/** @param {Iterable<number>} ids Asks for cards that are not known; they arrive with `cardsVersion`. */
export function wantCards(ids) {
  for (const id of ids) if (!cards.has(id)) wanted.add(id);
  if (wanted.size) schedule();
}

/**
 * Marks photos and shows it at once; takes it back when the server refuses.
 * @param {readonly number[]} ids
 * @param {{ favourite?: boolean, hidden?: boolean }} marks
 */
export async function mark(ids, marks) {
  const before = ids.map((id) => cards.get(id)).filter((one) => one !== undefined);
  keepCards(before.map((one) => ({ ...one, ...marks })));
  try {
    await api.post("/photos/marks", { ids, ...marks });
  } catch (error) {
    keepCards(before);
    throw error;
  }
  generation.value++;
}
