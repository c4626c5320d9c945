// Copies of what the library knows, and the way back to one.

import { html } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { bytes, date, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { ask } from "../../parts/dialog.js";
import { isBusy, latest, start, startAlone } from "../shared/jobs.js";
import { attempt, pending, useLive } from "../shared/live.js";
import { Note } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { Backup } from "../shared/types.js" */

/** @param {Backup} backup */
async function restore(backup) {
  const when = date(backup.created_at);
  const sure = await ask({ title: t("backup.restore_title", { date: when }), text: t("backup.restore_text"),
    action: t("backup.restore"), typed: t("backup.restore_word"), danger: true });
  if (sure !== null) await startAlone("restore", { backup: backup.id });
}

/** @param {Backup} backup @param {() => void} changed */
async function remove(backup, changed) {
  const sure = await ask({ title: t("backup.delete_title", { date: date(backup.created_at) }), text: t("backup.delete_text"),
    action: t("backup.delete"), danger: true });
  if (sure !== null && await attempt(() => api.del(`/backups/${encodeURIComponent(backup.id)}`))) changed();
}

/** @param {{ backup: Backup, busy: boolean, changed: () => void }} properties */
function Entry({ backup, busy, changed }) {
  const when = date(backup.created_at);
  return html`<li class="entry">
    <div class="entry-words"><span class="entry-name">${when}</span><span class="entry-more">${backup.name} · ${bytes(backup.bytes)}</span></div>
    <div class="room-actions">
      <${Button} icon="archive-restore" disabled=${busy} onClick=${() => restore(backup)} label=${t("backup.restore_one", { date: when })}>${t("backup.restore")}<//>
      <${Button} kind="quiet" icon="download" href=${`/api/v1/backups/${encodeURIComponent(backup.id)}/file`} download label=${t("backup.save", { date: when })} />
      <${Button} kind="quiet" icon="trash-2" disabled=${busy} onClick=${() => remove(backup, changed)} label=${t("backup.delete_one", { date: when })} />
    </div></li>`;
}

/** Backing up, and the backups that are there. */
export function Backups() {
  const backups = useLive((signal) => /** @type {Promise<{ backups: Backup[], folder: string }>} */ (api.get("/backups", { signal })));
  const busy = isBusy("backup") || isBusy("restore");
  const restored = latest("restore");
  const all = backups.data?.backups ?? [];
  const make = html`<${Button} kind="primary" icon="archive" busy=${isBusy("backup")} disabled=${busy} onClick=${() => start("backup")}>${t("backup.make")}<//>`;
  return html`<${Section} id="backups" title=${t("backup.title")} text=${t("backup.text")} actions=${make}>
    ${restored?.state === "done" && html`<${Note} icon="circle-check" kind="good" title=${t("backup.restored")}>
      ${restored.result?.replaced && html`<p>${t("backup.kept", { name: restored.result.replaced })}</p>`}<//>`}
    ${pending(backups) ?? (all.length ? html`<ul class="entries">${all.map((backup) =>
      html`<${Entry} key=${backup.id} backup=${backup} busy=${busy} changed=${backups.reload} />`)}</ul>` : html`<p class="room-text">${t("backup.none")}</p>`)}
    ${backups.data && html`<p class="room-text small">${t("backup.where", { folder: backups.data.folder })}</p>`}
  <//>`;
}
