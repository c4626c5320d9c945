// The photo with its masks: pointing with mouse, finger and pen, and with a cross-hair that arrows move.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { media, thumbnail } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { card } from "../../lib/store.js";
import { drawable } from "../../parts/viewer/items.js";
import { selected } from "./work.js";

/** @import { How, Work } from "./work.js" */
/** @typedef {[number, number]} Place x and y in pixels of the original */
/** @typedef {"fresh" | "add" | "remove" | "box"} Tool */

/** CSS pixels that a pointer may move and still be a click. */
const STILL = 6;
/** Share of the longer side that an arrow key moves the cross-hair; with Shift a tenth of it. */
const STEP = 0.02;

/** @type {Record<string, Place>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** @param {{ shiftKey: boolean, altKey: boolean }} event @param {Tool} tool @returns {How} what a click does */
function howOf(event, tool) {
  if (event.shiftKey) return "add";
  if (event.altKey) return "remove";
  return tool === "box" ? "fresh" : tool;
}

/** @param {Place} from @param {Place} to @returns {[number, number, number, number]} */
const boxOf = (from, to) => [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]) + 1, Math.max(from[1], to[1]) + 1];

/** The masks as outlines: what is not selected is dimmed. @param {{ work: Work }} properties */
function Masks({ work }) {
  const step = work.step.value;
  const hover = work.hover.value;
  const { width, height } = (step ?? hover)?.answer ?? { width: 1, height: 1 }; // one size for all masks of a photo
  const outline = selected(step).map((mask) => mask.outline).join("");
  const hovered = selected(hover).map((mask) => mask.outline).join("");
  return html`<svg class="cut-masks" viewBox=${`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
    ${outline && html`<path class="cut-veil" d=${`M0 0H${width}V${height}H0Z${outline}`} />
      <path class="cut-edge cut-edge-dark" d=${outline} /><path class="cut-edge" d=${outline} />`}
    ${hovered !== outline && hovered && html`<path class="cut-hover" d=${hovered} />`}
  </svg>`;
}

/** @param {{ work: Work, width: number, height: number, cross: Place | null, box: [number, number, number, number] | null }} properties */
function Marks({ work, width, height, cross, box }) {
  const prompt = work.step.value?.prompt;
  const share = (/** @type {number} */ value, /** @type {number} */ whole) => `${(value / whole) * 100}%`;
  const frame = box ?? prompt?.box;
  return html`<div class="cut-marks" aria-hidden="true">
    ${frame && html`<span class=${box ? "cut-box" : "cut-box cut-box-done"} style=${{ left: share(frame[0], width), top: share(frame[1], height),
      width: share(frame[2] - frame[0], width), height: share(frame[3] - frame[1], height) }}></span>`}
    ${prompt?.points.map(([x, y, on]) => html`<span class=${on ? "cut-point" : "cut-point cut-point-off"}
      style=${{ left: share(x + 0.5, width), top: share(y + 0.5, height) }}></span>`)}
    ${cross && html`<span class="cut-cross" style=${{ left: share(cross[0] + 0.5, width), top: share(cross[1] + 0.5, height) }}></span>`}
  </div>`;
}

/** The picture: a thumbnail, and the original once it is looked at from near. @param {{ id: number, zoom: number, alt: string }} properties */
function Picture({ id, zoom, alt }) {
  const known = card(id);
  const [sharp, setSharp] = useState(false);
  useEffect(() => {
    if (zoom <= 1 || sharp || !drawable(known)) return undefined;
    let gone = false;
    const original = new Image();
    original.src = media(id);
    original.decode().then(() => { if (!gone) setSharp(true); }, () => undefined); // the preview stays
    return () => { gone = true; };
  }, [zoom > 1, known]);
  return html`<img class="cut-image" src=${sharp ? media(id) : thumbnail(id, 1600, known?.version)} alt=${alt} draggable=${false} />`;
}

/**
 * Where things are pointed at.
 * @param {{ work: Work, id: number, width: number, height: number, zoom: number, setZoom: (change: (before: number) => number) => void, tool: Tool }} properties
 */
export function Stage({ work, id, width, height, zoom, setZoom, tool }) {
  const host = useRef(/** @type {HTMLDivElement | null} */ (null));
  const picture = useRef(/** @type {HTMLDivElement | null} */ (null));
  const start = useRef(/** @type {{ at: Place, x: number, y: number, moved: boolean } | null} */ (null));
  const [drawn, setDrawn] = useState(/** @type {[number, number, number, number] | null} */ (null));
  const [cross, setCross] = useState(/** @type {Place | null} */ (null));
  const [corner, setCorner] = useState(/** @type {Place | null} */ (null));

  useEffect(() => {
    host.current?.focus();
    const wheel = (/** @type {WheelEvent} */ event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      setZoom((before) => before * Math.exp(-event.deltaY / 300));
    };
    host.current?.addEventListener("wheel", wheel, { passive: false });
    return () => host.current?.removeEventListener("wheel", wheel);
  }, []);

  /** @param {{ clientX: number, clientY: number }} event @returns {Place} */
  const placeOf = ({ clientX, clientY }) => {
    const frame = /** @type {HTMLDivElement} */ (picture.current).getBoundingClientRect();
    const within = (/** @type {number} */ share, /** @type {number} */ whole) => Math.min(whole - 1, Math.max(0, Math.floor(share * whole)));
    return [within((clientX - frame.left) / frame.width, width), within((clientY - frame.top) / frame.height, height)];
  };

  /** @param {PointerEvent} event */
  const down = (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    setCross(null);
    setCorner(null);
    picture.current?.setPointerCapture(event.pointerId);
    start.current = { at: placeOf(event), x: event.clientX, y: event.clientY, moved: false };
  };
  /** @param {PointerEvent} event */
  const move = (event) => {
    const from = start.current;
    if (!from) {
      if (event.pointerType !== "touch") void work.preview(work.promptAt(...placeOf(event), howOf(event, tool)));
      return;
    }
    from.moved ||= Math.hypot(event.clientX - from.x, event.clientY - from.y) > STILL;
    if (!from.moved) return;
    void work.preview(null);
    setDrawn(boxOf(from.at, placeOf(event)));
  };
  /** @param {PointerEvent} event */
  const up = (event) => {
    const from = start.current;
    start.current = null;
    setDrawn(null);
    if (!from) return;
    if (from.moved) void work.around(boxOf(from.at, placeOf(event)));
    else void work.click(...from.at, howOf(event, tool));
  };
  const cancel = () => {
    start.current = null;
    setDrawn(null);
  };

  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey) return;
    const arrow = ARROWS[event.key];
    const now = cross ?? /** @type {Place} */ ([Math.floor(width / 2), Math.floor(height / 2)]);
    if (arrow && !event.altKey) {
      const far = Math.max(1, Math.round(Math.max(width, height) * STEP * (event.shiftKey ? 0.1 : 1)));
      const to = /** @type {Place} */ ([
        Math.min(width - 1, Math.max(0, now[0] + arrow[0] * far)), Math.min(height - 1, Math.max(0, now[1] + arrow[1] * far))]);
      setCross(to);
      setDrawn(corner && boxOf(corner, to));
      void work.preview(corner ? null : work.promptAt(...to, tool === "box" ? "fresh" : tool));
      requestAnimationFrame(() => picture.current?.querySelector(".cut-cross")?.scrollIntoView({ block: "nearest", inline: "nearest" }));
    } else if (event.key === "Enter" || event.key === " " || event.key === "b") {
      setCross(now);
      const boxing = event.key === "b" || (tool === "box" && !event.shiftKey && !event.altKey);
      if (corner) {
        void work.around(boxOf(corner, now));
        setCorner(null);
        setDrawn(null);
      } else if (boxing) {
        setCorner(now);
        setDrawn(boxOf(now, now));
      } else void work.click(...now, howOf(event, tool));
    } else if (event.key === "Escape" && corner) {
      setCorner(null);
      setDrawn(null);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const known = card(id);
  return html`<div ref=${host} class="cut-stage" tabindex="0" role="application" aria-label=${t("cut.stage")} aria-describedby="cut-keys"
      style=${{ "--ratio": width / height, "--zoom": zoom }} onKeyDown=${keys} onBlur=${() => { setCross(null); void work.preview(null); }}>
    <p id="cut-keys" class="hidden-visually">${t("cut.keys")}</p>
    <div ref=${picture} class=${`cut-picture cut-tool-${tool}`} onPointerDown=${down} onPointerMove=${move} onPointerUp=${up}
        onPointerCancel=${cancel} onPointerLeave=${() => void work.preview(null)}>
      <${Picture} id=${id} zoom=${zoom} alt=${known?.name ?? ""} />
      <${Masks} work=${work} />
      <${Marks} work=${work} width=${width} height=${height} cross=${cross} box=${drawn} />
    </div>
  </div>`;
}
