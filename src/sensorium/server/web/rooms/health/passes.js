// What is found out about photos beyond what their files say: text, faces, duplicates, moments of videos.

import { html } from "../../vendor/preact.js";
import { may } from "../../lib/api.js";
import { has, number, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { Icon } from "../../parts/icon.js";
import { isBusy, start } from "../shared/jobs.js";
import { Commands } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { PassEntry } from "../shared/types.js" */
/** @import { IconName } from "../../vendor/icons.js" */

/** @type {Record<string, IconName>} */
const ICONS = { text: "scan-text", faces: "scan-face", people: "users", hash: "copy", regions: "layout-grid", video: "film" };

/** @param {PassEntry} entry */
const named = (entry) => (has(`pass.${entry.pass}`) ? t(`pass.${entry.pass}`) : entry.pass);

/** @param {{ entry: PassEntry }} properties */
function Pass({ entry }) {
  const busy = isBusy("describe");
  const total = entry.done + entry.due;
  return html`<li class="pass">
    <${Icon} name=${ICONS[entry.pass] ?? "sparkles"} />
    <div class="pass-words"><span class="pass-name">${named(entry)}</span>
      <span class="pass-state">${!entry.ready ? t("pass.missing") : entry.due > 0 ? t("pass.due", { done: number(entry.done), total: number(total), count: entry.due })
        : total > 0 ? t("pass.done", { count: entry.done }) : t("pass.nothing")}${entry.failed ? ` · ${t("pass.failed", { count: entry.failed })}` : ""}</span>
      ${!entry.ready && html`<${Commands} line=${entry.needs} />`}
      ${entry.ready && entry.due > 0 && html`<progress class="work-bar" max=${total} value=${entry.done} aria-label=${named(entry)}></progress>`}
    </div>
    ${may("admin") && entry.ready && entry.due > 0 && html`<${Button} icon="play" disabled=${busy} label=${t("pass.run_one", { name: named(entry) })}
      kind="quiet" onClick=${() => start("describe", { passes: [entry.pass] })} />`}
  </li>`;
}

/** @param {{ passes: readonly PassEntry[] | undefined }} properties */
export function Passes({ passes = [] }) {
  if (!passes.length) return null;
  const due = passes.some((entry) => entry.ready && entry.due > 0);
  const all = may("admin") && due && html`<${Button} icon="play" busy=${isBusy("describe")} onClick=${() => start("describe")}>${t("pass.run")}<//>`;
  return html`<${Section} id="passes" title=${t("pass.title")} text=${t("pass.about")} actions=${all}>
    <ul class="passes">${passes.map((entry) => html`<${Pass} key=${entry.pass} entry=${entry} />`)}</ul><//>`;
}
