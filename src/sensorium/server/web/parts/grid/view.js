// The window onto a grid: only what is near the visible part has nodes, and nodes are used again.

import { language } from "../../lib/i18n.js";
import { firstWhere, layOut, sectionAt, topOf, within } from "../../lib/geometry.js";
import { cardsVersion, selection, wantCards } from "../../lib/store.js";
import { effect, signal } from "../../vendor/preact.js";
import { Cell } from "./cell.js";

/** @import { Geometry, GridShape, Section } from "../../lib/geometry.js" */

/**
 * @typedef {object} GridData
 * @property {readonly number[]} ids
 * @property {readonly number[]} ratios
 * @property {(index: number) => string} version
 * @property {readonly Section[]} sections
 * @property {(section: Section) => string} heading "" without headings
 * @property {boolean} complete false while more will be appended
 * @property {((index: number) => string) | null} why a line under each photo
 */

/** Above this speed (pixels a millisecond) pictures are not asked for: they would be gone before they come. */
const FAST = 4;
/** Milliseconds without scrolling after which everything that is visible is fetched. */
const SETTLED = 90;

/** @param {number} width of the grid @param {boolean} captions @returns {GridShape} */
function shapeFor(width, captions) {
  const rowHeight = width < 480 ? 118 : width < 800 ? 168 : width < 1500 ? 212 : 252;
  return { width, rowHeight: captions ? rowHeight * 1.1 : rowHeight, gap: width < 480 ? 3 : 5, headHeight: 48,
    captionHeight: captions ? 24 : 0 };
}

export class GridView {
  /** @param {HTMLElement} host @param {() => void} onMove called when the visible part has changed */
  constructor(host, onMove) {
    this.host = host;
    this.onMove = onMove;
    /** @type {GridData | null} */
    this.data = null;
    /** @type {Geometry | null} */
    this.geometry = null;
    /** @type {Map<number, Cell>} */
    this.cells = new Map();
    /** @type {Cell[]} */
    this.spare = [];
    /** @type {Map<number, { root: HTMLElement, list: HTMLElement }>} */
    this.sections = new Map();
    /** The photo that has, or would get, the keyboard's focus. */
    this.focusIndex = 0;
    this.lastY = 0;
    this.lastTime = 0;
    this.frame = 0;
    this.settle = 0;
    this.width = 0;
    /** Grows whenever places were computed anew. */
    this.arranged = signal(0);
    this.watch();
  }

  watch() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    addEventListener("scroll", () => this.schedule(), { passive: true, signal });
    this.resizes = new ResizeObserver(() => {
      if (Math.floor(this.host.clientWidth) !== this.width) this.arrange();
      else this.schedule();
    });
    this.resizes.observe(this.host);
    addEventListener("resize", () => this.schedule(), { signal });
    this.effects = [
      effect(() => { void cardsVersion.value; void language.value; this.describeAll(); }),
      effect(() => { const chosen = selection.value; for (const cell of this.cells.values()) cell.select(chosen.has(cell.id)); }),
    ];
  }

  destroy() {
    this.stop?.abort();
    this.resizes?.disconnect();
    for (const end of this.effects ?? []) end();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settle);
    for (const cell of this.cells.values()) cell.release();
    this.host.replaceChildren();
  }

  /** Where the grid begins in the document. */
  get offset() {
    return this.host.getBoundingClientRect().top + scrollY;
  }

  /** Height of what lies over the upper edge of the window. */
  get covered() {
    return parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--top-height")) || 0;
  }

  /**
   * Shows other photos, or more of the same: whatever is at the top of the window stays there.
   * @param {GridData} data
   */
  show(data) {
    const anchor = this.anchor();
    this.data = data;
    this.arrange(anchor);
  }

  /** The first visible photo and how far it is below the upper edge. */
  anchor() {
    if (!this.data || !this.geometry?.count || scrollY <= this.offset) return null;
    const y = scrollY - this.offset + this.covered;
    const { first } = within(this.geometry, y, y + 1);
    const index = Math.min(first, this.geometry.count - 1);
    return { id: this.data.ids[index], gap: topOf(this.geometry, index) - y };
  }

  /** Computes all places anew. @param {{ id: number, gap: number } | null} [anchor] */
  arrange(anchor = this.anchor()) {
    if (!this.data) return;
    this.width = Math.floor(this.host.clientWidth);
    if (this.width < 40) return; // not laid out yet
    const shape = shapeFor(this.width, this.data.why !== null);
    if (!this.data.sections.some((section) => this.data?.heading(section))) shape.headHeight = 0;
    this.geometry = layOut(this.data.ratios, this.data.sections, shape, this.data.complete);
    this.host.style.height = `${Math.ceil(this.geometry.height)}px`;
    for (const index of [...this.cells.keys()]) this.free(index);
    for (const { root } of this.sections.values()) root.remove();
    this.sections.clear();
    this.focusIndex = Math.min(this.focusIndex, Math.max(0, this.geometry.count - 1));
    if (anchor) {
      const index = this.data.ids.indexOf(anchor.id);
      if (index >= 0 && index < this.geometry.count) {
        scrollTo(0, topOf(this.geometry, index) - anchor.gap + this.offset - this.covered);
      }
    }
    this.arranged.value++;
    this.draw();
  }

  schedule() {
    if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = 0; this.draw(); });
  }

  /** Gives nodes to what is near the window and takes them from the rest. */
  draw() {
    const { geometry, data } = this;
    if (!geometry || !data) return;
    const now = performance.now();
    const y = scrollY - this.offset;
    const speed = Math.abs(y - this.lastY) / Math.max(1, now - this.lastTime);
    const fast = speed > FAST && now - this.lastTime < 200;
    this.lastY = y;
    this.lastTime = now;
    const reach = innerHeight * (fast ? 0.25 : 0.8);
    const range = within(geometry, y - reach, y + innerHeight + reach);
    const kept = document.activeElement instanceof Element && this.host.contains(document.activeElement) ? this.focusIndex : -1;
    for (const index of this.cells.keys()) {
      if ((index < range.first || index >= range.end) && index !== kept) this.free(index);
    }
    this.drawSections(range.firstSection, range.lastSection);
    // From the end, so that each can be put before its follower: the order of nodes is the order of photos.
    for (let index = range.end - 1; index >= range.first; index--) {
      if (!this.cells.has(index)) this.place(index);
    }
    this.markFocusable(y);
    if (!fast) this.fetchVisible();
    clearTimeout(this.settle);
    this.settle = setTimeout(() => { this.fetchVisible(); wantCards([...this.cells.values()].map((cell) => cell.id)); }, SETTLED);
    this.onMove();
  }

  /** @param {number} first @param {number} last */
  drawSections(first, last) {
    const { geometry, data } = this;
    if (!geometry || !data) return;
    for (const [index, { root, list }] of this.sections) {
      if ((index < first || index > last) && !list.childElementCount) {
        root.remove();
        this.sections.delete(index);
      }
    }
    for (let index = first; index <= last; index++) {
      if (this.sections.has(index)) continue;
      const root = document.createElement("section");
      root.className = "month";
      root.style.top = `${geometry.sectionTops[index]}px`;
      root.style.height = `${geometry.sectionTops[index + 1] - geometry.sectionTops[index]}px`;
      const list = document.createElement("div");
      list.setAttribute("role", "list");
      const heading = data.heading(geometry.sections[index]);
      if (heading) {
        const title = document.createElement("h2");
        title.textContent = heading;
        root.append(title);
        list.setAttribute("aria-label", heading);
      }
      root.append(list);
      const after = [...this.sections.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
      this.host.insertBefore(root, this.sections.get(after)?.root ?? null);
      this.sections.set(index, { root, list });
    }
  }

  /** @param {number} index */
  place(index) {
    const { geometry, data } = this;
    if (!geometry || !data) return;
    const section = this.sectionIndex(index);
    const list = this.sections.get(section)?.list;
    if (!list) return;
    const cell = this.spare.pop() ?? new Cell();
    cell.take(index, data.ids[index], data.ids.length, {
      left: geometry.left[index], top: geometry.top[index], wide: geometry.wide[index], tall: geometry.tall[index],
    });
    cell.describe(data.ids.length, data.why ? data.why(index) : null);
    cell.select(selection.peek().has(cell.id));
    cell.link.tabIndex = -1;
    const next = this.cells.get(index + 1);
    list.insertBefore(cell.root, next?.root.parentElement === list ? next.root : null);
    this.cells.set(index, cell);
  }

  /** @param {number} index */
  sectionIndex(index) {
    const sections = this.geometry?.sections ?? [];
    return firstWhere(0, sections.length, (i) => sections[i].start > index) - 1;
  }

  /** @param {number} index */
  free(index) {
    const cell = this.cells.get(index);
    if (!cell) return;
    this.cells.delete(index);
    cell.release();
    cell.root.remove();
    if (this.spare.length < 200) this.spare.push(cell);
  }

  fetchVisible() {
    if (!this.geometry || !this.data) return;
    const { first, end } = within(this.geometry, this.lastY, this.lastY + innerHeight);
    // What is visible is asked for before what is near it.
    for (const near of [true, false]) {
      for (const [index, cell] of this.cells) {
        if ((index >= first && index < end) === near) cell.load(this.data.version(index), near);
      }
    }
  }

  describeAll() {
    if (!this.data) return;
    for (const [index, cell] of this.cells) cell.describe(this.data.ids.length, this.data.why ? this.data.why(index) : null);
    for (const [index, { root }] of this.sections) {
      const title = root.querySelector("h2");
      const section = this.geometry?.sections[index];
      if (title && section) title.textContent = this.data.heading(section);
    }
  }

  /** One photo can be reached with Tab: the focused one, else the first that is visible. @param {number} y */
  markFocusable(y) {
    if (!this.geometry) return;
    const visible = within(this.geometry, y + this.covered, y + innerHeight).first;
    const wanted = this.cells.has(this.focusIndex) ? this.focusIndex : visible;
    for (const [index, cell] of this.cells) cell.link.tabIndex = index === wanted ? 0 : -1;
  }

  /** Scrolls as little as needed for a photo to be seen. @param {number} index @param {boolean} [centred] */
  reveal(index, centred = false) {
    if (!this.geometry) return;
    const top = topOf(this.geometry, index) + this.offset;
    const tall = this.geometry.tall[index];
    const [from, to] = [scrollY + this.covered + 8, scrollY + innerHeight - 80];
    if (centred && (top < from || top + tall > to)) scrollTo(0, top - (innerHeight - tall) / 2);
    else if (top < from) scrollTo(0, top - this.covered - 56);
    else if (top + tall > to) scrollTo(0, top + tall - innerHeight + 80);
  }

  /** Moves the keyboard's focus to a photo, wherever it is. @param {number} index */
  focus(index) {
    if (!this.geometry || index < 0 || index >= this.geometry.count) return;
    this.focusIndex = index;
    this.reveal(index);
    this.draw();
    this.cells.get(index)?.link.focus({ preventScroll: true });
  }

  /** The section that the upper part of the window shows. */
  currentSection() {
    return this.geometry ? sectionAt(this.geometry, scrollY - this.offset + this.covered + 60) : 0;
  }
}
