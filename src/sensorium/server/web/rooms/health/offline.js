// Folders that are not there now: their photos stay, and what brings them back.

import { html } from "../../vendor/preact.js";
import { may } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { isBusy, start } from "../shared/jobs.js";
import { said } from "../shared/live.js";
import { Note } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { RootEntry } from "../shared/types.js" */

/** @param {{ root: RootEntry }} properties */
export function OfflineRoot({ root }) {
  const again = may("admin") && html`<${Button} icon="refresh-cw" busy=${isBusy("index")} onClick=${() => start("index")}>${t("offline.look")}<//>`;
  return html`<${Note} icon="unplug" kind="warning" title=${root.path} actions=${again}>
    <p>${t("offline.what", { count: root.photos })}: ${said(root.offline)}</p>
    <p>${t("offline.how")}</p>
  <//>`;
}

/** @param {{ roots: readonly RootEntry[] }} properties */
export function Offline({ roots }) {
  const away = roots.filter((root) => root.offline);
  if (!away.length) return null;
  return html`<${Section} id="offline" title=${t("offline.title")}>
    ${away.map((root) => html`<${OfflineRoot} key=${root.id} root=${root} />`)}<//>`;
}
