// PhotoSwipe, set up for the photos of a sequence: zoom, swipe and keys are its own; films, sharp originals
// and boxes around faces are added here.

import { media } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { effect, signal } from "../../vendor/preact.js";
import PhotoSwipe from "../../vendor/photoswipe.js";
import { toast } from "../toast.js";
import { gridImage, itemOf, sharpen } from "./items.js";

/** @import { Face, PhotoSequence } from "../../lib/types.js" */

/** Width of the panel beside the photo, pixels; on phones it covers this share of the height. */
const PANEL_WIDTH = 360;
const PANEL_SHARE = 0.55;

/** The faces that are drawn on the photo; empty while they are not wanted. */
export const faces = signal(/** @type {readonly Face[]} */ ([]));

const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const narrow = () => innerWidth < 720;
/** Width without a scroll bar. */
const wide = () => document.documentElement.clientWidth;

/** @param {any} item @returns {HTMLVideoElement} */
function film(item) {
  const video = document.createElement("video");
  video.className = "film";
  video.controls = true;
  video.playsInline = true;
  video.preload = "metadata";
  video.poster = item.src;
  // The fragment makes the browser fetch only the range that it needs.
  video.src = item.moment ? `${media(item.id)}#t=${item.moment}` : media(item.id);
  video.addEventListener("error", () => { if (video.isConnected) toast(t("error.video"), { kind: "error" }); });
  return video;
}

/** @param {PhotoSwipe} stage */
function playFilms(stage) {
  stage.addFilter("isContentZoomable", (zoomable, content) => (content.data.type === "video" ? false : zoomable));
  stage.on("contentLoad", (event) => {
    const { content } = /** @type {any} */ (event);
    if (content.data.type !== "video") return;
    event.preventDefault();
    content.element = film(content.data);
    content.onLoaded();
  });
  stage.on("contentActivate", ({ content }) => {
    if (content.element instanceof HTMLVideoElement) void content.element.play().catch(() => undefined); // a press starts it
  });
  stage.on("contentDeactivate", ({ content }) => {
    if (content.element instanceof HTMLVideoElement) content.element.pause();
  });
  // The film's own controls are no place to swipe from.
  stage.on("pointerDown", (event) => {
    const { target, clientY } = event.originalEvent;
    if (target instanceof HTMLVideoElement && clientY > target.getBoundingClientRect().bottom - 72) event.preventDefault();
  });
}

/** @param {PhotoSwipe} stage @returns {() => void} ends it */
function drawFaces(stage) {
  const layer = document.createElement("div");
  layer.className = "faces";
  const fit = () => {
    const slide = stage.currSlide;
    const element = slide?.content.element;
    if (!slide || !element) return;
    if (layer.parentElement !== slide.container) slide.container.append(layer);
    layer.style.width = element.style.width;
    layer.style.height = element.style.height;
  };
  for (const event of /** @type {const} */ (["imageSizeChange", "change", "contentAppend", "loadComplete"])) stage.on(event, fit);
  return effect(() => {
    fit();
    layer.replaceChildren(...faces.value.map(({ box, person }) => {
      const frame = document.createElement(person ? "a" : "span");
      frame.className = "face";
      if (person && frame instanceof HTMLAnchorElement) frame.href = `/people/${person.id}`;
      frame.style.left = `${box.left * 100}%`;
      frame.style.top = `${box.top * 100}%`;
      frame.style.width = `${(box.right - box.left) * 100}%`;
      frame.style.height = `${(box.bottom - box.top) * 100}%`;
      const name = document.createElement("span");
      name.textContent = person?.name ?? t("info.unnamed");
      frame.append(name);
      return frame;
    }));
  });
}

/** Does something at once, or as soon as the photo has grown: before, PhotoSwipe hears nothing. @param {PhotoSwipe} stage @param {() => void} work */
function whenOpen(stage, work) {
  if (stage.opener.isOpen || stage.isDestroying) work();
  else stage.on("openingAnimationEnd", () => setTimeout(work));
}

/** Closes the stage although the photo still grows; an open one closes by PhotoSwipe's own key. @param {PhotoSwipe} stage */
export function closeEarly(stage) {
  if (!stage.opener.isOpen) whenOpen(stage, () => stage.close());
}

/** Takes the stage away: out of sight at once, so that no two dialogs are there. @param {PhotoSwipe | null} stage */
export function endStage(stage) {
  if (!stage) return;
  stage.element?.remove();
  whenOpen(stage, () => stage.destroy());
}

/**
 * Opens the stage on a photo.
 * @param {PhotoSequence} order @param {number} index
 * @param {{ onChange: (id: number) => void, onClosed: () => void, panel: () => boolean, animate: boolean }} options
 */
export function openStage(order, index, { onChange, onClosed, panel, animate }) {
  const stage = new PhotoSwipe({
    index,
    dataSource: [],
    loop: false,
    bgOpacity: 1,
    spacing: 0.08,
    wheelToZoom: true,
    close: false, zoom: false, counter: false,
    trapFocus: false, // the page behind is inert, and dialogs may open above
    returnFocus: false,
    arrowPrevTitle: t("viewer.previous"),
    arrowNextTitle: t("viewer.next"),
    errorMsg: t("viewer.gone"),
    showHideAnimationType: still() ? "none" : "zoom",
    showAnimationDuration: animate && !still() ? 240 : 0,
    hideAnimationDuration: still() ? 0 : 200,
    zoomAnimationDuration: still() ? 0 : 240,
    // A small photo, too, can be looked at from near.
    secondaryZoomLevel: (level) => Math.max(level.fit * 2, Math.min(1, level.fit * 3)),
    maxZoomLevel: (level) => Math.max(1, level.fit * 4),
    preload: [1, 2],
    mainClass: "viewer",
    getViewportSizeFn: () => (panel()
      ? narrow() ? { x: wide(), y: innerHeight * (1 - PANEL_SHARE) } : { x: wide() - PANEL_WIDTH, y: innerHeight }
      : { x: wide(), y: innerHeight }),
  });
  stage.addFilter("numItems", () => order.count());
  stage.addFilter("itemData", (_, at) => itemOf(order, at));
  stage.addFilter("thumbEl", (_, item) => gridImage(item.id) ?? /** @type {any} */ (null));
  stage.addFilter("placeholderSrc", (_, content) => content.data.msrc ?? false);
  stage.on("imageSizeChange", ({ content, width }) => {
    if (content.element instanceof HTMLImageElement) sharpen(content.element, content.data, width);
  });
  stage.on("change", () => {
    order.near?.(stage.currIndex);
    onChange(order.idAt(stage.currIndex));
  });
  stage.on("openingAnimationEnd", () => stage.updateSize(true)); // the panel may have opened meanwhile
  stage.on("keydown", (event) => {
    const { target } = event.originalEvent;
    const elsewhere = target instanceof HTMLElement && target.closest("input, textarea, select, video, dialog, .menu-list");
    if (elsewhere || document.querySelector("dialog[open]")) event.preventDefault();
  });
  playFilms(stage);
  const endFaces = drawFaces(stage);
  stage.on("destroy", () => { endFaces(); onClosed(); });
  stage.init();
  return stage;
}
