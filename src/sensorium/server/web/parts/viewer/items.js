// What PhotoSwipe is told of each photo, and how a sharper picture takes the place of the preview.

import { api, media, thumbnail } from "../../lib/api.js";
import { date, said } from "../../lib/i18n.js";
import { card } from "../../lib/store.js";

/** @import { Card, PhotoSequence } from "../../lib/types.js" */

/** Longest side of the largest thumbnail. */
const PREVIEW = 1600;
/** Formats whose originals browsers draw themselves. */
const DRAWABLE = /\.(jpe?g|png|webp|gif|avif|bmp)$/i;

/** @param {Card | undefined} known @returns {boolean} can the original be shown as it is? */
export const drawable = (known) => known !== undefined && !known.offline && known.kind !== "raw" && DRAWABLE.test(known.name);

/** @param {number} id the picture of the grid, from which the photo grows and into which it shrinks */
export const gridImage = (id) =>
  /** @type {HTMLImageElement | null} */ (document.querySelector(`.cell[data-id="${id}"] img.ready`));

/**
 * @param {PhotoSequence} order @param {number} index
 * @returns {Record<string, any>} width and height are those of the original, as far as known
 */
export function itemOf(order, index) {
  const id = order.idAt(index);
  const known = card(id);
  const ratio = known ? known.width / known.height : order.ratioAt(index);
  const version = order.versionAt(index);
  const width = known?.width ?? (ratio >= 1 ? PREVIEW : PREVIEW * ratio);
  return {
    id, version, width, height: known?.height ?? width / ratio,
    type: known?.kind === "video" ? "video" : "image",
    src: thumbnail(id, PREVIEW, version),
    msrc: gridImage(id)?.currentSrc || thumbnail(id, 240, version),
    alt: known ? [date(known.taken_at), said(known.place), known.name].filter(Boolean).join(", ") : "",
    moment: order.momentAt?.(index) ?? null,
  };
}

/** @param {number} id a sequence of one: a photo that the open room does not show @returns {Promise<PhotoSequence>} */
export async function alone(id) {
  const { keepCards } = await import("../../lib/store.js");
  const detail = await api.get(`/photos/${id}`);
  keepCards([detail]);
  return { count: () => 1, idAt: () => id, indexOf: (other) => (other === id ? 0 : -1),
    ratioAt: () => detail.width / detail.height || 1, versionAt: () => detail.version };
}

/** @type {WeakSet<HTMLImageElement>} pictures that show, or are about to show, the original */
const sharp = new WeakSet();

/**
 * Puts the original in place of the preview once it is drawn larger than the preview is. The original is
 * fetched and decoded first, so that nothing flickers.
 * @param {HTMLImageElement} image @param {Record<string, any>} item @param {number} width CSS pixels as drawn
 */
export function sharpen(image, item, width) {
  const preview = Math.min(item.width, item.width >= item.height ? PREVIEW : PREVIEW * (item.width / item.height));
  if (sharp.has(image) || width * devicePixelRatio < preview * 1.15 || item.width <= preview || !drawable(card(item.id))) return;
  sharp.add(image);
  const original = new Image();
  original.src = media(item.id);
  original.decode().then(() => { image.src = original.src; }, () => undefined); // the preview stays
}
