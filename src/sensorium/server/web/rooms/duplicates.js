// The same photo twice, or nearly: side by side, so that all but the best can be hidden. Nothing is deleted.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { api, may, thumbnail } from "../lib/api.js";
import { bytes, date, t } from "../lib/i18n.js";
import { navigate } from "../lib/router.js";
import { mark, sequence } from "../lib/store.js";
import { Button } from "../parts/button.js";
import { ask } from "../parts/dialog.js";
import { Empty } from "../parts/states.js";
import { toast } from "../parts/toast.js";
import { isBusy, start } from "./shared/jobs.js";
import { attempt, pending, said, useLive } from "./shared/live.js";

/** @import { Twin, TwinGroup, Twins } from "./shared/types.js" */

const PAGE = 20;

/** The one worth keeping. @param {readonly Twin[]} photos */
const best = (photos) => photos.find((photo) => photo.best) ?? photos[0];

/** @param {TwinGroup} group */
const keyOf = (group) => group.photos.map((photo) => photo.id).join("-");

/**
 * Hides photos, with a way back.
 * @param {readonly number[]} ids
 */
async function hide(ids) {
  if (!await attempt(() => mark(ids, { hidden: true }))) return;
  toast(t("twins.hidden", { count: ids.length }), { action: { label: t("rooms.undo"), run: () => attempt(() => mark(ids, { hidden: false })) } });
}

/** @param {{ group: TwinGroup, number: number }} properties */
function Group({ group, number }) {
  const [kept, setKept] = useState(best(group.photos).id);
  const others = group.photos.filter((photo) => photo.id !== kept).map((photo) => photo.id);
  const first = best(group.photos).id;
  /** @param {MouseEvent} event @param {number} id */
  const open = (event, id) => {
    event.preventDefault();
    const { photos } = group;
    sequence.value = { count: () => photos.length, idAt: (index) => photos[index].id,
      indexOf: (wanted) => photos.findIndex((photo) => photo.id === wanted), ratioAt: (index) => photos[index].width / photos[index].height,
      versionAt: (index) => photos[index].version };
    navigate(`/photo/${id}`);
  };
  return html`<section class="twins" aria-label=${t("twins.group", { number: String(number), count: group.photos.length })}>
    <header class="twins-head"><h3>${t(`twins.${group.kind}`)}</h3>
      ${may("edit") && html`<${Button} icon="eye-off" onClick=${() => hide(others)}>${t("twins.hide", { count: others.length })}<//>`}</header>
    <ul class="twins-photos">${group.photos.map((photo) => html`<li key=${photo.id} class=${photo.id === kept ? "twin twin-kept" : "twin"}>
      <a href="/photo/${photo.id}" onClick=${(/** @type {MouseEvent} */ event) => open(event, photo.id)} aria-label=${t("twins.open", { name: photo.name })}>
        <img src=${thumbnail(photo.id, 720, photo.version)} alt="" loading="lazy" decoding="async" /></a>
      <label class="twin-keep"><input type="radio" name=${`keep-${keyOf(group)}`} checked=${photo.id === kept} disabled=${!may("edit")}
        onChange=${() => setKept(photo.id)} /> <span>${t(photo.id === kept ? "twins.kept" : "twins.keep")}</span>
        ${photo.id === first && html`<span class="badge">${t("twins.best")}</span>`}</label>
      <p class="twin-name">${photo.name}</p>
      <p class="twin-facts">${photo.width} × ${photo.height} · ${bytes(photo.bytes)}<br />${date(photo.taken_at, "short")}${photo.place ? ` · ${said(photo.place)}` : ""}</p>
    </li>`)}</ul>
  </section>`;
}

/** @param {{ groups: readonly TwinGroup[], from: number }} properties */
function Groups({ groups, from }) {
  return groups.map((group, index) => html`<${Group} key=${keyOf(group)} group=${group} number=${from + index + 1} />`);
}

/** A mark at the end of what is shown: more is drawn when it comes into sight. @param {{ more: () => void }} properties */
function Further({ more }) {
  const end = useRef(/** @type {HTMLDivElement | null} */ (null));
  useEffect(() => {
    const seen = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && more(), { rootMargin: "600px" });
    if (end.current) seen.observe(end.current);
    return () => seen.disconnect();
  });
  return html`<div ref=${end} class="further"></div>`;
}

/** The room. */
export default function DuplicatesRoom() {
  const twins = useLive((signal) => /** @type {Promise<Twins>} */ (api.get("/duplicates?limit=500", { signal })));
  const [shown, setShown] = useState(PAGE);
  const wait = pending(twins);
  const title = html`<h1 class="room-title">${t("nav.duplicates")}</h1>`;
  if (wait) return html`<div class="room">${title}${wait}</div>`;
  const groups = twins.data?.groups ?? [];
  const exact = groups.filter((group) => group.kind === "exact");
  const ordered = [...exact, ...groups.filter((group) => group.kind === "near")];
  const look = may("admin") && html`<${Button} icon="scan-search" busy=${isBusy("describe")} onClick=${() => start("describe", { passes: ["hash"] })}>${t("twins.look")}<//>`;
  if (!ordered.length) return html`<div class="room">${title}<${Empty} icon="copy" title=${t("twins.empty")} text=${t("twins.how")}>${look}<//></div>`;
  const spare = exact.flatMap((group) => {
    const first = best(group.photos).id;
    return group.photos.filter((photo) => photo.id !== first).map((photo) => photo.id);
  });
  const hideAll = async () => {
    if (await ask({ title: t("twins.all_title", { count: spare.length }), text: t("twins.all_text"), action: t("twins.all_do") }) !== null) await hide(spare);
  };
  return html`<div class="room">
    <header class="room-head">${title}${look}
      ${may("edit") && exact.length > 1 && html`<${Button} icon="eye-off" onClick=${hideAll}>${t("twins.all", { count: spare.length })}<//>`}</header>
    <p class="room-text">${t("twins.text")}</p>
    <${Groups} groups=${ordered.slice(0, shown)} from=${0} />
    ${shown < ordered.length && html`<${Further} more=${() => setShown((now) => now + PAGE)} />`}
  </div>`;
}
