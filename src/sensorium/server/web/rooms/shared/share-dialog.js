// A link for others: to some photos or an album, for some days.

import { html, render, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { date, t } from "../../lib/i18n.js";
import { generation } from "../../lib/store.js";
import { Button } from "../../parts/button.js";
import { Dialog } from "../../parts/dialog.js";
import { attempt } from "./live.js";
import { Copyable, Note } from "./note.js";

/** @typedef {{ photo_ids?: readonly number[], album_id?: number, name?: string }} Shown */

const DAYS = [1, 7, 30, 90, 365];
const USUAL = 7;
const LOCAL = /^(localhost|127\.|\[::1\])/;

/** Asks how long, makes the link and shows it. @param {Shown | readonly number[]} shown ids of photos, or an album */
export function openShare(shown) {
  const host = document.createElement("div");
  document.body.append(host);
  const close = () => {
    render(null, host);
    host.remove();
  };
  render(html`<${ShareDialog} shown=${Array.isArray(shown) ? { photo_ids: shown } : shown} close=${close} />`, host);
}

/** @param {{ shown: Shown, close: () => void }} properties */
function ShareDialog({ shown, close }) {
  const [name, setName] = useState(shown.name ?? "");
  const [days, setDays] = useState(USUAL);
  const [made, setMade] = useState(/** @type {{ path: string, expires_at: string } | null} */ (null));
  /** @param {Event} event */
  const make = async (event) => {
    event.preventDefault();
    await attempt(async () => {
      const what = shown.album_id === undefined ? { photo_ids: shown.photo_ids } : { album_id: shown.album_id };
      setMade(await api.post("/shares", { ...what, name: name.trim() || null, days }));
      generation.value++;
    });
  };
  const title = shown.album_id === undefined ? t("share.title", { count: shown.photo_ids?.length ?? 0 }) : t("share.title_album", { name: shown.name ?? "" });
  if (made) {
    return html`<${Dialog} title=${t("share.ready")} onClose=${close} actions=${html`<${Button} kind="primary" onClick=${close}>${t("rooms.done")}<//>`}>
      <div class="stack"><p>${t("share.until", { date: date(made.expires_at, "day") })}</p>
        <${Copyable} text=${location.origin + made.path} label=${t("share.copy")} />
        <p class="room-text">${t("share.once")}</p>
        ${LOCAL.test(location.host) && html`<${Note} icon="info">${t("share.local")}<//>`}</div>
    <//>`;
  }
  return html`<${Dialog} title=${title} onClose=${close}><form class="stack" onSubmit=${make}>
    <label class="field"><span>${t("share.name")}</span>
      <input class="input" value=${name} onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} /></label>
    <label class="field"><span>${t("share.days")}</span>
      <select class="input" value=${String(days)} onChange=${(/** @type {any} */ event) => setDays(Number(event.currentTarget.value))}>
        ${DAYS.map((count) => html`<option key=${count} value=${String(count)}>${t("share.for", { count })}</option>`)}</select></label>
    <p class="room-text">${t("share.what")}</p>
    <footer class="dialog-actions"><${Button} kind="quiet" onClick=${close}>${t("action.cancel")}<//>
      <${Button} type="submit" kind="primary" icon="link">${t("share.make")}<//></footer>
  </form><//>`;
}
