// The years at the edge: press, drag or use the keys to get anywhere in the library at once. Heights are those
// of the grid, so that the handle is where the window is.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { monthName, t } from "../lib/i18n.js";

/** @import { Section } from "../lib/geometry.js" */
/** @import { GridView } from "./grid/view.js" */

/** Labels nearer than this to the one above are left out, pixels. */
const APART = 22;

/**
 * @param {{ view: GridView, moved: { current: () => void }, sections: readonly Section[] }} properties
 */
export function Scrubber({ view, moved, sections }) {
  const track = useRef(/** @type {HTMLDivElement | null} */ (null));
  const handle = useRef(/** @type {HTMLDivElement | null} */ (null));
  const label = useRef(/** @type {HTMLSpanElement | null} */ (null));
  const [height, setHeight] = useState(0);
  const [active, setActive] = useState(false);
  const quiet = useRef(0);
  void view.arranged.value;
  const total = view.geometry?.height ?? 0;

  useEffect(() => {
    const element = track.current;
    if (!element) return undefined;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);

  // Scrolling moves the handle without drawing the component anew.
  moved.current = () => {
    if (!handle.current || !track.current || !view.geometry) return;
    const way = Math.max(1, view.geometry.height - innerHeight + view.covered);
    const part = Math.min(1, Math.max(0, (scrollY - view.offset + view.covered) / way));
    handle.current.style.transform = `translateY(${part * track.current.clientHeight}px)`;
    const name = monthName(sections[view.currentSection()]?.key || null);
    if (label.current && label.current.textContent !== name) {
      label.current.textContent = name;
      track.current.setAttribute("aria-valuetext", name);
      track.current.setAttribute("aria-valuenow", String(view.currentSection()));
    }
    track.current.classList.add("moving");
    clearTimeout(quiet.current);
    quiet.current = setTimeout(() => track.current?.classList.remove("moving"), 900);
  };
  useEffect(() => moved.current(), [height, sections, total]);

  const years = useMemo(() => yearMarks(view, sections, height), [height, sections, total]);
  /** @param {PointerEvent} event */
  const go = (event) => {
    const element = track.current;
    if (!element || !view.geometry) return;
    const box = element.getBoundingClientRect();
    const part = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    scrollTo(0, view.offset - view.covered + part * (view.geometry.height - innerHeight + view.covered));
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const step = { ArrowUp: -1, ArrowDown: 1, PageUp: -12, PageDown: 12, Home: -Infinity, End: Infinity }[event.key];
    if (!step || !view.geometry) return;
    event.preventDefault();
    const to = Math.min(sections.length - 1, Math.max(0, view.currentSection() + step));
    scrollTo(0, view.offset - view.covered + view.geometry.sectionTops[to]);
  };
  if (!view.geometry || sections.length < 2 || total < innerHeight * 2) return html`<div ref=${track} hidden></div>`;
  return html`<div class=${active ? "scrubber active" : "scrubber"} ref=${track} role="slider" tabindex="0"
      aria-orientation="vertical" aria-label=${t("grid.timeline")} aria-valuemin="0" aria-valuemax=${sections.length - 1}
      aria-valuenow="0" onKeyDown=${keys}
      onPointerDown=${(/** @type {any} */ event) => { event.preventDefault(); event.currentTarget.setPointerCapture(event.pointerId); setActive(true); go(event); }}
      onPointerMove=${(/** @type {PointerEvent} */ event) => { if (active) go(event); }}
      onPointerUp=${() => setActive(false)} onPointerCancel=${() => setActive(false)}>
    ${years.map(({ year, y, shown }) => html`<span key=${year} class=${shown ? "year" : "year dot"} style=${{ top: `${y}px` }} aria-hidden="true">${shown ? year : ""}</span>`)}
    <div class="handle" ref=${handle}><span class="date" ref=${label}></span></div>
  </div>`;
}

/**
 * Where each year begins along the track.
 * @param {GridView} view @param {readonly Section[]} sections @param {number} height
 */
function yearMarks(view, sections, height) {
  const { geometry } = view;
  if (!geometry || !height) return [];
  /** @type {{ year: string, y: number, shown: boolean }[]} */
  const marks = [];
  let free = -Infinity;
  let before = "";
  for (const [index, section] of sections.entries()) {
    const year = section.key.slice(0, 4);
    if (!year || year === before) continue;
    before = year;
    const y = (geometry.sectionTops[index] / geometry.height) * height;
    const shown = y - free >= APART;
    if (shown) free = y;
    marks.push({ year, y, shown });
  }
  return marks;
}
