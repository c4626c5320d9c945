import { html, useEffect, useState } from "../vendor/preact.js";
import { api, may, thumbnail } from "../lib/api.js";
import { bytes, date, number, said, t } from "../lib/i18n.js";
import { useLoad } from "../lib/load.js";
import { searchAddress } from "../lib/search-state.js";
import { generation, keepCards } from "../lib/store.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";
import { Failed, Loading } from "./states.js";
import { faces } from "./viewer/stage.js";

/** @import { ComponentChildren } from "preact" */
/** @import { IconName } from "../vendor/icons.js" */
/** @import { Detail, Hit } from "../lib/types.js" */

/** One fact. @param {{ icon: IconName, name: string, children?: ComponentChildren }} properties */
function Fact({ icon, name, children }) {
  return html`<div class="fact"><dt><${Icon} name=${icon} size=${18} /><span class="hidden-visually">${name}</span></dt><dd>${children}</dd></div>`;
}

/** A still map around the place, drawn when the map's code has come. @param {{ latitude: number, longitude: number }} properties */
function SmallMap({ latitude, longitude }) {
  const [Map_, setMap] = useState(/** @type {import("preact").ComponentType<any> | null} */ (null));
  useEffect(() => {
    let gone = false;
    import("../rooms/shared/mini-map.js").then((module) => { if (!gone) setMap(() => module.default); }, console.error);
    return () => { gone = true; };
  }, []);
  return html`<a class="small-map" href="/map" aria-label=${t("nav.map")}>${Map_ && html`<${Map_} latitude=${latitude} longitude=${longitude} />`}</a>`;
}

/** @param {{ detail: Detail }} properties */
function Facts({ detail }) {
  const settings = [detail.camera, detail.lens].filter(Boolean).join(" · ");
  const megapixels = (detail.width * detail.height) / 1e6;
  const { latitude, longitude } = detail;
  return html`<dl class="facts">
    <${Fact} icon="calendar" name=${t("info.when")}>${date(detail.taken_at)}<//>
    ${(detail.place || latitude !== null) && html`<${Fact} icon="map-pin" name=${t("info.place")}>
      ${said(detail.place)}
      ${latitude !== null && longitude !== null && html`<span class="soft small figures">${latitude.toFixed(5)}, ${longitude.toFixed(5)}</span>
        <${SmallMap} latitude=${latitude} longitude=${longitude} />`}<//>`}
    ${settings && html`<${Fact} icon="camera" name=${t("info.camera")}>${settings}<//>`}
    <${Fact} icon="image" name=${t("info.file")}><span class="break">${detail.name}</span>
      <span class="soft small">${t("info.size", { width: detail.width, height: detail.height })} · ${number(megapixels, { maximumFractionDigits: 1 })} MP · ${bytes(detail.size)}</span><//>
    ${(detail.path ?? detail.folder) && html`<${Fact} icon="folder" name=${t("info.where_from")}><span class="break soft small">${detail.path ?? detail.folder}</span><//>`}
    ${detail.companions.length > 0 && html`<${Fact} icon="link" name=${t("info.companions")}>
      ${detail.companions.map((one) => html`<span key=${one.name} class="soft small break">${one.name}</span>`)}<//>`}
    ${detail.albums.length > 0 && html`<${Fact} icon="album" name=${t("info.albums")}>
      ${detail.albums.map((album) => html`<a key=${album.id} href=${`/albums/${album.id}`}>${album.name}</a>`)}<//>`}
    ${detail.rating !== null && detail.rating > 0 && html`<${Fact} icon="star" name=${t("info.rating", { stars: detail.rating })}>${"★".repeat(detail.rating)}<//>`}
  </dl>`;
}

/** Who is on it, with a switch that draws boxes around the faces. @param {{ detail: Detail }} properties */
function People({ detail }) {
  const drawn = faces.value.length > 0;
  if (!detail.people.length && !detail.faces.length) return null;
  return html`<section><div class="spread"><h3>${t("info.people")}</h3>
      ${detail.faces.length > 0 && html`<${Button} kind="quiet" icon="scan-face" pressed=${drawn} label=${t(drawn ? "info.faces_hide" : "info.faces_show")}
        onClick=${() => { faces.value = drawn ? [] : detail.faces; }} />`}</div>
    <div class="row">${detail.people.map((person) => html`<a key=${person.id} class="chip" href=${`/people/${person.id}`}>
      <${Icon} name="user-round" size=${16} />${person.name ?? t("info.unnamed")}</a>`)}</div></section>`;
}

/** Photos that look like it. @param {{ id: number }} properties */
function Similar({ id }) {
  const loaded = useLoad((signal) => api.get(`/photos/${id}/similar?k=9`, { signal }), [id]);
  /** @type {Hit[]} */
  const hits = loaded.data?.hits ?? [];
  useEffect(() => keepCards(hits), [loaded.data]);
  if (loaded.error || !hits.length) return null;
  return html`<section><div class="spread"><h3>${t("info.similar")}</h3>
      <${Button} kind="quiet" icon="scan-search" href=${searchAddress({ terms: [{ photo_id: id, weight: 1 }] })} label=${t("info.similar_all")} /></div>
    <ul class="similar">${hits.map((hit) => html`<li key=${hit.id}><a href=${`/photo/${hit.id}`} aria-label=${`${date(hit.taken_at, "short")}, ${hit.name}`}>
      <img src=${thumbnail(hit.id, 240, hit.version)} alt="" loading="lazy" /></a></li>`)}</ul></section>`;
}

/** Everything that is known about a photo. @param {{ id: number, onClose: () => void }} properties */
export function InfoPanel({ id, onClose }) {
  const loaded = useLoad((signal) => api.get(`/photos/${id}`, { signal }), [id, generation.value]);
  const detail = /** @type {Detail | null} */ (loaded.data);
  return html`<aside class="info-panel" aria-label=${t("info.title")}>
    <header class="spread"><h2>${t("info.title")}</h2><${Button} icon="x" kind="quiet" label=${t("action.close")} onClick=${onClose} /></header>
    ${!detail && loaded.error && html`<${Failed} error=${loaded.error} retry=${loaded.reload} />`}
    ${!detail && !loaded.error && html`<${Loading} />`}
    ${detail && html`
      ${(detail.title || detail.caption) && html`<section>${detail.title && html`<h3>${detail.title}</h3>`}${detail.caption && html`<p>${detail.caption}</p>`}</section>`}
      <${Facts} detail=${detail} />
      <${People} detail=${detail} />
      ${detail.text && html`<section><h3>${t("info.text")}</h3><p class="seen-text">${detail.text}</p></section>`}
      ${detail.keywords.length > 0 && html`<section><h3>${t("info.keywords")}</h3><div class="row">${detail.keywords.map((word) =>
        html`<a key=${word} class="chip" href=${searchAddress({ q: word })}>${word}</a>`)}</div></section>`}
      ${may("view") && html`<${Similar} id=${id} />`}`}
  </aside>`;
}
