// What a link shows to whoever has it: these photos and nothing else. Asks only below /shared/KEY.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { api, ApiError } from "../lib/api.js";
import { date, duration, t } from "../lib/i18n.js";
import { useLoad } from "../lib/load.js";
import { Button } from "../parts/button.js";
import { Icon } from "../parts/icon.js";
import { Switches } from "../parts/navigation.js";
import { Empty, Failed, Loading } from "../parts/states.js";

/** @import { Shared, SharedPhoto } from "./shared/types.js" */

const BASE = "/api/v1/shared/";
/** Answers that say that the link has come to its end. */
const OVER = new Set(["share_expired", "share_revoked", "not_found"]);

/** @param {string} key @param {SharedPhoto} photo @param {240 | 720 | 1600} size */
const picture = (key, photo, size) => `${BASE}${encodeURIComponent(key)}/photos/${photo.id}/thumbnail?size=${size}`;
/** @param {string} key @param {SharedPhoto} photo @param {string} [after] */
const original = (key, photo, after = "") => `${BASE}${encodeURIComponent(key)}/photos/${photo.id}/media${after}`;

/** @param {SharedPhoto} photo @param {number} index @param {number} count */
const described = (photo, index, count) =>
  t(photo.kind === "video" ? "shared.video" : "shared.photo", { index: String(index + 1), total: String(count), date: date(photo.taken_at, "day") });

/**
 * One photo, as large as the window; arrows go on, Escape closes.
 * @param {{ code: string, photos: readonly SharedPhoto[], index: number, go: (index: number | null) => void }} properties
 */
function Large({ code, photos, index, go }) {
  const frame = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    frame.current?.showModal();
    return () => frame.current?.close();
  }, []);
  const photo = photos[index];
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && photos[index + step]) go(index + step);
  };
  const label = described(photo, index, photos.length);
  return html`<dialog ref=${frame} class="shared-large" aria-label=${label} onKeyDown=${keys} onCancel=${(/** @type {Event} */ event) => {
      event.preventDefault();
      go(null);
    }}>
    ${photo.kind === "video" ? html`<video key=${photo.id} src=${original(code, photo)} poster=${picture(code, photo, 1600)} controls playsinline></video>`
      : html`<img key=${photo.id} src=${picture(code, photo, 1600)} alt=${label} />`}
    <div class="shared-tools">
      <${Button} kind="quiet" icon="download" href=${original(code, photo, "?download=1")} download label=${t("shared.download")} />
      <${Button} kind="quiet" icon="x" label=${t("action.close")} onClick=${() => go(null)} /></div>
    ${index > 0 && html`<${Button} class="shared-back" kind="quiet" icon="chevron-left" label=${t("shared.previous")} onClick=${() => go(index - 1)} />`}
    ${index < photos.length - 1 && html`<${Button} class="shared-on" kind="quiet" icon="chevron-right" label=${t("shared.next")} onClick=${() => go(index + 1)} />`}
  </dialog>`;
}

/** @param {{ code: string, shared: Shared }} properties */
function Photos({ code, shared }) {
  const [large, setLarge] = useState(/** @type {number | null} */ (null));
  const list = useRef(/** @type {HTMLUListElement | null} */ (null));
  const { photos } = shared;
  /** @param {number | null} index */
  const go = (index) => {
    if (index === null && large !== null) list.current?.querySelectorAll("button")[large]?.focus();
    setLarge(index);
  };
  return html`<header class="shared-head"><div><h1>${shared.name || t("shared.title")}</h1>
      <p class="room-text">${t("rooms.photos", { count: photos.length })} · ${t("shared.until", { date: date(shared.expires_at, "day") })}</p></div>
      <${Switches} /></header>
    <ul class="shared-photos" ref=${list}>${photos.map((photo, index) => html`<li key=${photo.id} style=${{ "--ratio": photo.width / photo.height || 1 }}>
      <button type="button" onClick=${() => setLarge(index)} aria-label=${described(photo, index, photos.length)}>
        <img src=${picture(code, photo, 720)} alt="" loading="lazy" decoding="async" width=${photo.width} height=${photo.height} />
        ${photo.duration !== null && html`<span class="shared-time"><${Icon} name="play" size=${14} /> ${duration(photo.duration)}</span>`}</button></li>`)}</ul>
    ${large !== null && html`<${Large} code=${code} photos=${photos} index=${large} go=${go} />`}`;
}

/** The room. @param {{ route: import("../lib/router.js").Route }} properties */
export default function ShareRoom({ route }) {
  const code = route.parts[1] ?? "";
  const shared = useLoad((signal) => /** @type {Promise<Shared>} */ (api.get(`/shared/${encodeURIComponent(code)}`, { signal })), [code]);
  if (shared.data) return html`<div class="shared"><${Photos} code=${code} shared=${shared.data} /></div>`;
  if (!shared.error) return html`<${Loading} />`;
  const over = shared.error instanceof ApiError && OVER.has(shared.error.code);
  if (over) return html`<div class="shared"><${Empty} icon="unlink" title=${t("shared.over")} text=${t("shared.over_text")} /></div>`;
  return html`<${Failed} error=${shared.error} retry=${shared.reload} />`;
}
