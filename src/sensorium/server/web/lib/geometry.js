// Where every photo of a grid stands, for all of them at once and before any is drawn: scrolling then never
// moves anything. Rows are made by Flickr's justified-layout; lengths are CSS pixels.

import justifiedLayout from "../vendor/justified-layout.js";

/**
 * @typedef {object} Section a run of photos under one heading
 * @property {string} key
 * @property {number} start index of its first photo
 * @property {number} count
 */

/**
 * @typedef {object} Geometry
 * @property {number} count photos that have a place; fewer than were given while the last row may still grow
 * @property {number} height of everything
 * @property {readonly Section[]} sections
 * @property {Float64Array} sectionTops [sections + 1] where each begins, heading included; last: the end
 * @property {Float32Array} left [count]
 * @property {Float32Array} top [count] from the top of its section
 * @property {Float32Array} wide [count]
 * @property {Float32Array} tall [count] without the caption
 */

/**
 * @typedef {object} GridShape
 * @property {number} width of a row
 * @property {number} rowHeight what rows come near to
 * @property {number} gap
 * @property {number} headHeight of a section's heading; 0 without
 * @property {number} captionHeight below each photo; 0 without
 */

/** The library's running time grows with the square of its input: it gets this many photos at a time. */
const CHUNK = 256;
/** Panoramas and scrolled screenshots are cut to these ratios, so that they neither vanish nor fill the window. */
const NARROWEST = 0.45;
const WIDEST = 3.4;

/**
 * Rows of one section, written into `into`.
 * @param {ArrayLike<number>} ratios of all sections
 * @param {Section} section
 * @param {GridShape} shape
 * @param {boolean} closed the last row may be shorter than the others; else it is left out
 * @param {Geometry} into
 * @returns {{ placed: number, height: number }}
 */
function placeSection(ratios, section, shape, closed, into) {
  let placed = 0;
  let y = shape.headHeight;
  let chunk = CHUNK;
  while (placed < section.count) {
    const last = placed + chunk >= section.count;
    const part = [];
    for (let i = placed; i < Math.min(placed + chunk, section.count); i++) {
      part.push(Math.min(WIDEST, Math.max(NARROWEST, ratios[section.start + i] || 1)));
    }
    const made = justifiedLayout(part, {
      containerWidth: shape.width,
      containerPadding: 0,
      boxSpacing: { horizontal: shape.gap, vertical: shape.gap + shape.captionHeight },
      targetRowHeight: shape.rowHeight,
      targetRowHeightTolerance: 0.28,
      showWidows: last && closed,
    });
    for (const [i, box] of made.boxes.entries()) {
      const index = section.start + placed + i;
      into.left[index] = box.left;
      into.top[index] = y + box.top;
      into.wide[index] = box.width;
      into.tall[index] = box.height;
    }
    placed += made.boxes.length;
    if (made.boxes.length) y += made.containerHeight + shape.gap + shape.captionHeight;
    if (last) break;
    chunk = made.boxes.length ? CHUNK : chunk * 2; // not even one row: the window is very wide
  }
  return { placed, height: y };
}

/**
 * @param {ArrayLike<number>} ratios width / height of each photo
 * @param {readonly Section[]} sections
 * @param {GridShape} shape
 * @param {boolean} [complete] false while more photos will be appended: an unfilled last row waits for them
 * @returns {Geometry}
 */
export function layOut(ratios, sections, shape, complete = true) {
  const count = ratios.length;
  /** @type {Geometry} */
  const geometry = {
    count, height: 0, sections,
    sectionTops: new Float64Array(sections.length + 1),
    left: new Float32Array(count), top: new Float32Array(count),
    wide: new Float32Array(count), tall: new Float32Array(count),
  };
  let y = 0;
  for (const [i, section] of sections.entries()) {
    const closed = complete || i < sections.length - 1;
    geometry.sectionTops[i] = y;
    const { placed, height } = placeSection(ratios, section, shape, closed, geometry);
    if (!closed) geometry.count = section.start + placed;
    y += height + (shape.headHeight ? shape.gap * 2 : 0);
  }
  geometry.sectionTops[sections.length] = y;
  geometry.height = y;
  return geometry;
}

/**
 * First index in [low, high) for which `test` holds; it must hold for all after it. `high` when none.
 * @param {number} low @param {number} high @param {(index: number) => boolean} test
 */
export function firstWhere(low, high, test) {
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (test(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** @param {Geometry} geometry @param {number} y @returns {number} the section at height y */
export function sectionAt(geometry, y) {
  const after = firstWhere(0, geometry.sections.length, (i) => geometry.sectionTops[i] > y);
  return Math.max(0, after - 1);
}

/** @param {Geometry} geometry @param {number} index @returns {number} the section of a photo */
export function sectionOf(geometry, index) {
  return firstWhere(0, geometry.sections.length, (i) => geometry.sections[i].start > index) - 1;
}

/** @param {Geometry} geometry @param {number} index @returns {number} top of a photo from the top of the grid */
export const topOf = (geometry, index) => geometry.sectionTops[sectionOf(geometry, index)] + geometry.top[index];

/**
 * The photos of which a part lies between two heights: [first, end).
 * @param {Geometry} geometry @param {number} from @param {number} to
 * @returns {{ first: number, end: number, firstSection: number, lastSection: number }}
 */
export function within(geometry, from, to) {
  if (!geometry.sections.length) return { first: 0, end: 0, firstSection: 0, lastSection: -1 };
  const firstSection = sectionAt(geometry, from);
  const lastSection = sectionAt(geometry, to);
  const limit = (/** @type {number} */ section) =>
    Math.min(geometry.count, geometry.sections[section].start + geometry.sections[section].count);
  const { sectionTops, top, tall } = geometry;
  const first = firstWhere(geometry.sections[firstSection].start, limit(firstSection),
    (i) => sectionTops[firstSection] + top[i] + tall[i] >= from);
  const end = firstWhere(geometry.sections[lastSection].start, limit(lastSection),
    (i) => sectionTops[lastSection] + top[i] > to);
  return { first, end: Math.max(first, end), firstSection, lastSection };
}

/**
 * The photo above or below another one, nearest to the middle of it.
 * @param {Geometry} geometry @param {number} index @param {1 | -1} step
 */
export function beside(geometry, index, step) {
  const middle = geometry.left[index] + geometry.wide[index] / 2;
  const here = topOf(geometry, index);
  let best = index;
  let distance = Infinity;
  let row = NaN;
  for (let i = index + step; i >= 0 && i < geometry.count; i += step) {
    const y = topOf(geometry, i);
    if (Math.abs(y - here) < 1) continue;
    if (Number.isNaN(row)) row = y;
    else if (Math.abs(y - row) >= 1) break;
    const away = Math.abs(geometry.left[i] + geometry.wide[i] / 2 - middle);
    if (away < distance) [best, distance] = [i, away];
  }
  return best;
}
