// Mouse, touch and keyboard on a grid: opening, selecting one or a range, moving about, dragging a photo out.

import { may } from "../../lib/api.js";
import { beside } from "../../lib/geometry.js";
import { navigate } from "../../lib/router.js";
import { card, mark, selection } from "../../lib/store.js";
import { toastError } from "../toast.js";

/** @import { GridView } from "./view.js" */

/** How the search box knows that a photo of the page is dropped on it. */
export const PHOTO_TYPE = "application/x-sensorium-photo";
/** Milliseconds that a finger rests on a photo to select it. */
const LONG_PRESS = 420;

export class GridInput {
  /** @param {GridView} view */
  constructor(view) {
    this.view = view;
    /** Where a range begins. */
    this.from = -1;
    this.stop = new AbortController();
    const { signal } = this.stop;
    const { host } = view;
    host.addEventListener("click", (event) => this.click(event), { signal });
    host.addEventListener("keydown", (event) => this.key(event), { signal });
    host.addEventListener("dragstart", (event) => this.drag(event), { signal });
    host.addEventListener("focusin", (event) => {
      const cell = this.cellOf(event.target);
      if (cell) this.view.focusIndex = cell.index;
    }, { signal });
    this.longPress(signal);
  }

  destroy() {
    this.stop.abort();
  }

  /** @param {EventTarget | null} target */
  cellOf(target) {
    const root = target instanceof Element ? target.closest(".cell") : null;
    return root ? [...this.view.cells.values()].find((cell) => cell.root === root) : undefined;
  }

  /** @param {number} index */
  toggle(index) {
    const chosen = new Set(selection.peek());
    const id = this.view.data?.ids[index] ?? -1;
    if (!chosen.delete(id)) chosen.add(id);
    selection.value = chosen;
    this.from = index;
  }

  /** Selects everything between the start of the range and a photo. @param {number} to */
  extend(to) {
    if (!selection.peek().size && this.from !== this.view.focusIndex) this.from = -1; // of a selection that is gone
    const from = this.from < 0 ? to : this.from;
    const ids = this.view.data?.ids.slice(Math.min(from, to), Math.max(from, to) + 1) ?? [];
    selection.value = new Set([...selection.peek(), ...ids]);
    if (this.from < 0) this.from = to;
  }

  /** @param {MouseEvent} event */
  click(event) {
    const cell = this.cellOf(event.target);
    if (!cell) return;
    const onTick = event.target instanceof Element && event.target.closest(".tick");
    if (event.shiftKey) this.extend(cell.index);
    else if (onTick || this.held || (selection.peek().size && !event.ctrlKey && !event.metaKey)) {
      if (!this.held) this.toggle(cell.index);
    } else if (event.ctrlKey || event.metaKey || event.button) return; // the browser opens it in another tab
    else navigate(`/photo/${cell.id}`);
    event.preventDefault();
    this.held = false;
  }

  /** A finger that rests selects; the click that follows does nothing more. @param {AbortSignal} signal */
  longPress(signal) {
    const { host } = this.view;
    /** @type {number | undefined} */
    let timer;
    const cancel = () => clearTimeout(timer);
    host.addEventListener("pointerdown", (event) => {
      this.held = false;
      const cell = event.pointerType === "touch" ? this.cellOf(event.target) : undefined;
      if (!cell) return;
      timer = setTimeout(() => { this.held = true; this.toggle(cell.index); navigator.vibrate?.(10); }, LONG_PRESS);
    }, { signal });
    for (const kind of ["pointerup", "pointercancel", "pointermove"]) host.addEventListener(kind, cancel, { signal });
    addEventListener("scroll", cancel, { passive: true, signal });
    host.addEventListener("contextmenu", (event) => { if (this.held) event.preventDefault(); }, { signal });
  }

  /** @param {DragEvent} event */
  drag(event) {
    const cell = this.cellOf(event.target);
    if (!cell || !event.dataTransfer) return;
    event.dataTransfer.setData(PHOTO_TYPE, String(cell.id));
    event.dataTransfer.effectAllowed = "copyLink";
    event.dataTransfer.setDragImage(cell.image, 24, 24);
  }

  /** Where an arrow or page key leads. @param {string} key @returns {number | null} */
  target(key) {
    const { geometry, focusIndex } = this.view;
    if (!geometry) return null;
    const last = geometry.count - 1;
    switch (key) {
      case "ArrowLeft": return Math.max(0, focusIndex - 1);
      case "ArrowRight": return Math.min(last, focusIndex + 1);
      case "ArrowUp": return beside(geometry, focusIndex, -1);
      case "ArrowDown": return beside(geometry, focusIndex, 1);
      case "Home": return 0;
      case "End": return last;
      case "PageUp": case "PageDown": {
        let index = focusIndex;
        for (let row = 0; row < 3; row++) index = beside(geometry, index, key === "PageUp" ? -1 : 1);
        return index;
      }
      default: return null;
    }
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { view } = this;
    const chord = event.ctrlKey || event.metaKey;
    const target = chord || event.altKey ? null : this.target(event.key);
    if (target !== null) {
      if (event.shiftKey) {
        if (this.from < 0 || !selection.peek().size) this.from = view.focusIndex;
        this.extend(target);
      }
      view.focus(target);
    } else if (event.key === " ") this.toggle(view.focusIndex);
    else if (event.key === "a" && chord) selection.value = new Set(view.data?.ids);
    else if (event.key === "Escape" && selection.peek().size) selection.value = new Set();
    else if ((event.key === "f" || event.key === "h") && !chord && may("edit")) this.mark(event.key);
    else return;
    event.preventDefault();
  }

  /** Favourite or hide what is selected, else what has the focus. @param {"f" | "h"} key */
  mark(key) {
    const chosen = selection.peek();
    const ids = chosen.size ? [...chosen] : [this.view.data?.ids[this.view.focusIndex] ?? -1];
    const all = ids.every((id) => card(id)?.[key === "f" ? "favourite" : "hidden"]);
    mark(ids, key === "f" ? { favourite: !all } : { hidden: !all }).catch(toastError);
  }
}
