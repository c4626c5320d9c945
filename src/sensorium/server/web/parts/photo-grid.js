import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { api, query } from "../lib/api.js";
import { monthName, number, t } from "../lib/i18n.js";
import { useLoad } from "../lib/load.js";
import { openAsk, openCut, openPhoto, rememberedScroll } from "../lib/router.js";
import { generation, selection, sequence } from "../lib/store.js";
import { GridInput } from "./grid/input.js";
import { GridView } from "./grid/view.js";
import { Scrubber } from "./scrubber.js";
import { SelectionBar } from "./selection-bar.js";
import { Failed, Loading } from "./states.js";

/** @import { ComponentChildren } from "preact" */
/** @import { GridDocument, Month, PhotoSequence } from "../lib/types.js" */
/** @import { GridData } from "./grid/view.js" */
/** @import { MenuItem } from "./menu.js" */

/**
 * Draws a set of photos and keeps the viewer's sequence. Shared by every room that shows photos.
 * @param {{ data: GridData, sequence: PhotoSequence, label: string, scrubber?: boolean, restore?: boolean,
 *   actions?: (ids: number[]) => MenuItem[], onEnd?: () => void }} properties
 *   `onEnd` is called when the end of what is there comes near
 */
export function Grid({ data, sequence: order, label, scrubber = false, restore = true, actions, onEnd }) {
  const host = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [view, setView] = useState(/** @type {GridView | null} */ (null));
  const moved = useRef(/** @type {() => void} */ (() => undefined));
  const ended = useRef(onEnd);
  ended.current = onEnd;

  useLayoutEffect(() => {
    if (!host.current) return undefined;
    const made = new GridView(host.current, () => {
      moved.current();
      if (made.geometry && scrollY + innerHeight * 2 > made.offset + made.geometry.height) ended.current?.();
    });
    const input = new GridInput(made);
    setView(made);
    return () => {
      input.destroy();
      made.destroy();
      selection.value = new Set();
    };
  }, []);
  const restored = useRef(!restore);
  useLayoutEffect(() => {
    if (!view) return;
    view.show(data);
    if (!restored.current) scrollTo(0, rememberedScroll());
    restored.current = true;
    view.draw();
  }, [view, data]);
  useEffect(() => {
    sequence.value = order;
    return () => { if (sequence.peek() === order) sequence.value = null; };
  }, [order]);
  useFollowViewer(view, order);

  return html`<div class="grid-frame">
    <div class="grid" ref=${host} role="group" aria-label=${label}></div>
    ${scrubber && view && html`<${Scrubber} view=${view} moved=${moved} sections=${data.sections} />`}
  </div>
  <${SelectionBar} actions=${actions} />`;
}

/**
 * When the viewer closes, the photo that it showed last is in sight and has the focus.
 * @param {GridView | null} view @param {PhotoSequence} order
 */
function useFollowViewer(view, order) {
  const last = useRef(/** @type {number | null} */ (null));
  const open = openPhoto.value ?? openCut.value ?? openAsk.value;
  useEffect(() => {
    if (open !== null) last.current = open;
    else if (last.current !== null && view) {
      const index = order.indexOf(last.current);
      last.current = null;
      if (index >= 0) view.focus(index);
    }
  }, [open, view]);
}

/** A month with fewer photos than this does not fill a row, and shares a heading with the next of its year. */
const FULL = 5;

/**
 * @param {readonly Month[]} months newest first
 * @returns {import("../lib/geometry.js").Section[]} keys are "2021-05", "2021-03/2021-05", or "" without a date
 */
function sectionsOf(months) {
  /** @type {import("../lib/geometry.js").Section[]} */
  const sections = [];
  for (const { month, start, count } of months) {
    const last = sections.at(-1);
    if (last && month && last.count < FULL && last.key.slice(0, 4) === month.slice(0, 4)) {
      last.key = `${month}/${last.key.split("/").at(-1)}`;
      last.count += count;
    } else sections.push({ key: month ?? "", start, count });
  }
  return sections;
}

/** @param {GridDocument} document_ @returns {{ data: GridData, order: PhotoSequence }} */
function prepare(document_) {
  const { ids, ratios, versions, months } = document_;
  /** @type {Map<number, number> | null} */
  let indexes = null;
  const version = (/** @type {number} */ index) => versions.slice(index * 4, index * 4 + 4);
  return {
    data: {
      ids, ratios, version, complete: true, why: null,
      sections: sectionsOf(months),
      heading: (section) => monthName(section.key || null),
    },
    order: {
      count: () => ids.length,
      idAt: (index) => ids[index],
      indexOf: (id) => (indexes ??= new Map(ids.map((one, index) => [one, index]))).get(id) ?? -1,
      ratioAt: (index) => ratios[index],
      versionAt: version,
    },
  };
}

/**
 * Every photo of a scope ("all", "favourites", "album:3", ...), newest first, by month.
 * @param {{ scope: string, title: string, hideTitle?: boolean, head?: ComponentChildren, empty: ComponentChildren,
 *   actions?: (ids: number[]) => MenuItem[] }} properties
 */
export function PhotoGrid({ scope, title, hideTitle = false, head, empty, actions }) {
  const loaded = useLoad((signal) => api.get(`/grid${query({ scope })}`, { signal }), [scope, generation.value]);
  const prepared = useMemo(() => (loaded.data ? prepare(loaded.data) : null), [loaded.data]);
  const count = prepared?.data.ids.length ?? 0;
  return html`<div class="photo-room">
    <header class=${hideTitle ? "hidden-visually" : "photo-head"}>
      <h1 class="room-title">${title}</h1>
      ${prepared && html`<p class="soft">${t("grid.count", { count })}</p>`}
    </header>
    ${head}
    ${!prepared && loaded.error && html`<${Failed} error=${loaded.error} retry=${loaded.reload} />`}
    ${!prepared && !loaded.error && html`<${Loading} />`}
    ${prepared && (count
      ? html`<${Grid} key=${scope} data=${prepared.data} sequence=${prepared.order} scrubber actions=${actions}
          label=${`${title}, ${number(count)}`} />`
      : empty)}
  </div>`;
}
