// One photo, large. The address says which; the room that it was opened from stays below.

import { h, html, render, signal, useEffect, useRef } from "../vendor/preact.js";
import { may } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { closePhoto, navigate, openPhoto } from "../lib/router.js";
import { card, cardsVersion, mark, sequence, wantCards } from "../lib/store.js";
import { InfoPanel } from "./info-panel.js";
import { hide } from "./selection-bar.js";
import { toastError } from "./toast.js";
import { Toolbar } from "./viewer/toolbar.js";
import { alone } from "./viewer/items.js";
import { closeEarly, endStage, faces, openStage } from "./viewer/stage.js";

/** @import { PhotoSequence } from "../lib/types.js" */
/** @typedef {ReturnType<typeof openStage>} Stage */

const PANEL_KEY = "sensorium.panel";
/** Milliseconds that a room has to say what it shows before a photo is shown by itself. */
const PATIENCE = 1500;

/** Is the panel with the details open? Remembered from photo to photo and visit to visit. */
export const panelOpen = signal(localStorage.getItem(PANEL_KEY) === "open");

/** Everything over the stage: the bar above it and the panel beside it. @param {{ stage: Stage, order: PhotoSequence }} properties */
function Chrome({ stage, order }) {
  const id = openPhoto.value;
  void cardsVersion.value;
  if (id === null) return null;
  const toggle = () => togglePanel(stage);
  const index = order.indexOf(id);
  return html`<${Toolbar} stage=${stage} id=${id} version=${index >= 0 ? order.versionAt(index) : ""} index=${index} count=${order.count()}
      panel=${panelOpen.value} togglePanel=${toggle} />
    ${card(id)?.offline && html`<p class="viewer-note" role="status">${t("viewer.offline")}</p>`}
    ${panelOpen.value && html`<${InfoPanel} key=${id} id=${id} onClose=${toggle} />`}
    <p class="hidden-visually" role="status">${t("viewer.count", { index: index + 1, count: order.count() })}</p>`;
}

/** @param {Stage | null} stage */
function togglePanel(stage) {
  panelOpen.value = !panelOpen.peek();
  localStorage.setItem(PANEL_KEY, panelOpen.peek() ? "open" : "closed");
  stage?.updateSize(true);
}

/** Is the key meant for something else than the photo? @param {KeyboardEvent} event */
function elsewhere(event) {
  const typing = event.target instanceof HTMLElement && event.target.closest("input, textarea, select, dialog");
  return Boolean(typing || document.querySelector("dialog[open]"));
}

/** @param {KeyboardEvent} event @param {() => void} toggle */
function shortcut(event, toggle) {
  const id = openPhoto.peek();
  if (id === null || elsewhere(event) || event.ctrlKey || event.metaKey || event.altKey) return;
  const known = card(id);
  if (event.key === "i") toggle();
  else if (event.key === "f" && may("edit")) mark([id], { favourite: !known?.favourite }).catch(toastError);
  else if (event.key === "h" && may("edit")) hide([id], !known?.hidden).catch(toastError);
  else return;
  event.preventDefault();
}

/** @param {number} id @returns {Promise<PhotoSequence>} what the room shows, if the photo is in it, else the photo alone */
async function orderFor(id) {
  const until = performance.now() + PATIENCE;
  while (!sequence.peek() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 50));
  const shown = sequence.peek();
  return shown && shown.indexOf(id) >= 0 ? shown : alone(id);
}

/** Drawn by the shell while the address is that of a photo. */
export default function Viewer() {
  const stage = useRef(/** @type {Stage | null} */ (null));
  const order = useRef(/** @type {PhotoSequence | null} */ (null));
  const leaving = useRef(false);
  const animate = useRef(true);
  const id = openPhoto.value;

  /** @param {PhotoSequence} shown @param {number} first */
  const open = (shown, first) => {
    order.current = shown;
    faces.value = [];
    const made = openStage(shown, shown.indexOf(first), {
      animate: animate.current,
      panel: () => panelOpen.peek(),
      onChange: (changed) => {
        faces.value = [];
        wantCards([changed]);
        if (openPhoto.peek() !== changed) navigate(`/photo/${changed}`, { replace: true });
      },
      onClosed: () => { if (!leaving.current && stage.current === made) closePhoto(); },
    });
    animate.current = false;
    stage.current = made;
    const chrome = document.createElement("div");
    chrome.className = "viewer-chrome";
    made.element?.append(chrome);
    made.element?.setAttribute("aria-label", t("viewer.dialog"));
    made.element?.setAttribute("aria-modal", "true");
    render(h(Chrome, { stage: made, order: shown }), chrome);
    made.on("destroy", () => render(null, chrome));
  };

  useEffect(() => {
    if (id === null || id !== openPhoto.peek()) return undefined; // the address went on before this was drawn
    const shown = order.current;
    const at = shown?.indexOf(id) ?? -1;
    if (stage.current && at >= 0) {
      if (stage.current.currIndex !== at) stage.current.goTo(at);
      return undefined;
    }
    let late = false;
    orderFor(id).then((found) => {
      if (late || id !== openPhoto.peek()) return;
      const before = stage.current;
      stage.current = null;
      endStage(before);
      open(found, id);
    }, (error) => { if (!late) { toastError(error); closePhoto(); } });
    return () => { late = true; };
  }, [id]);

  useEffect(() => {
    const keys = (/** @type {KeyboardEvent} */ event) => {
      const ready = stage.current && order.current?.idAt(stage.current.currIndex) === openPhoto.peek();
      if (event.key !== "Escape") shortcut(event, () => togglePanel(stage.current));
      else if (ready && stage.current) closeEarly(stage.current);
      else if (openPhoto.peek() !== null && !elsewhere(event)) closePhoto(); // the photo is still to come
    };
    addEventListener("keydown", keys);
    return () => {
      removeEventListener("keydown", keys);
      leaving.current = true;
      endStage(stage.current);
    };
  }, []);
  return null;
}
