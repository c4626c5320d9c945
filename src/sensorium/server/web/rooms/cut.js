// Cutting things out of a photo, over the room that it was opened from. The address is /photo/ID/cut.

import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { closeCut } from "../lib/router.js";
import { card, cardsVersion, wantCards } from "../lib/store.js";
import { Button } from "../parts/button.js";
import { Icon } from "../parts/icon.js";
import { Actions, Choices, Tools, Words } from "./cut/controls.js";
import { Stage } from "./cut/stage.js";
import { workOn } from "./cut/work.js";

/** @import { Tool } from "./cut/stage.js" */
/** @import { Work } from "./cut/work.js" */

const MOST_ZOOM = 8;

/** What is going on, in one line that is read out. @param {{ work: Work }} properties */
function Say({ work }) {
  const { text, error, busy } = work.line.value;
  return html`<p class=${error ? "cut-line cut-line-error" : "cut-line"} role="status">
    ${busy ? html`<span class="cut-busy"><${Icon} name="loader-circle" size=${18} /></span>` : error && html`<${Icon} name="triangle-alert" size=${18} />`}
    <span>${text}</span>
    ${error && !work.looked.value && html`<${Button} kind="quiet" icon="refresh-cw" onClick=${work.look}>${t("action.retry")}<//>`}
  </p>`;
}

/** @param {{ event: KeyboardEvent, work: Work, leave: () => void, save: () => void, copy: () => void, zoomBy: (by: number) => void }} what */
function shortcut({ event, work, leave, save, copy, zoomBy }) {
  if (document.querySelector("dialog[open]")) return;
  const typing = event.target instanceof HTMLElement && event.target.closest("input:not([type=radio], [type=checkbox]), textarea");
  if (event.key === "Escape") {
    if (work.step.value) work.clear();
    else leave();
  } else if (typing) return;
  else if (event.ctrlKey || event.metaKey) {
    const key = event.key.toLowerCase();
    if (key === "z") work.travel(event.shiftKey ? 1 : -1);
    else if (key === "y") work.travel(1);
    else if (key === "s") save();
    else if (key === "c" && !getSelection()?.toString()) copy();
    else return;
  } else if (event.key === "+" || event.key === "=") zoomBy(1.5);
  else if (event.key === "-") zoomBy(1 / 1.5);
  else return;
  event.preventDefault();
}

/** Drawn by the shell while the address is that of cutting. @param {{ id: number }} properties */
export default function Cut({ id }) {
  const work = useMemo(() => workOn(id), [id]);
  const [tool, setTool] = useState(/** @type {Tool} */ ("fresh"));
  const [cropped, setCropped] = useState(false);
  const [zoom, setZoom] = useState(1);
  void cardsVersion.value;
  const known = card(id);
  const size = work.looked.value ?? (known?.width ? known : null);
  const name = `${known?.name.replace(/\.[^.]*$/, "") || "photo"}-cut.png`;
  const leave = () => closeCut(id);
  /** @param {(before: number) => number} change */
  const changeZoom = (change) => setZoom((before) => Math.min(MOST_ZOOM, Math.max(1, change(before))));
  /** @param {number} by */
  const zoomBy = (by) => changeZoom((before) => before * by);

  useEffect(() => {
    wantCards([id]);
    void work.look();
    return work.end;
  }, [work]);
  useEffect(() => {
    const keys = (/** @type {KeyboardEvent} */ event) => shortcut({ event, work, leave, zoomBy,
      save: () => void work.save(name, cropped), copy: () => void work.copy(cropped) });
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [work, name, cropped]);

  return html`<div class="cut" role="dialog" aria-modal="true" aria-label=${t("cut.title")}>
    <header class="cut-top">
      <${Button} icon="arrow-left" kind="quiet" label=${t("cut.leave")} onClick=${leave} />
      <h1 class="cut-title">${t("cut.title")}</h1>
      <${Actions} work=${work} name=${name} zoomBy=${zoomBy} cropped=${cropped} setCropped=${setCropped} />
    </header>
    ${size ? html`<${Stage} key=${id} work=${work} id=${id} width=${size.width} height=${size.height} zoom=${zoom} setZoom=${changeZoom} tool=${tool} />`
      : html`<div class="cut-stage"></div>`}
    <footer class="cut-bottom">
      <${Say} work=${work} />
      <div class="cut-controls"><${Tools} tool=${tool} setTool=${setTool} /><${Choices} work=${work} /><${Words} work=${work} /></div>
    </footer>
  </div>`;
}
