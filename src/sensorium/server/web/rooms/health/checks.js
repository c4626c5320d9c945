// Is the library sound? What a check found, and mending it.

import { html, useState } from "../../vendor/preact.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { ask } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { isBusy, latest, start, startAlone } from "../shared/jobs.js";
import { phrase } from "../shared/phrases.js";
import { Note } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { Finding } from "../shared/types.js" */

/** What to do about it here: the library names commands, for which the page has buttons. @param {Finding} finding */
function advice(finding) {
  if (finding.advice.includes("library repair")) return "";
  return finding.advice.includes("sensorium index") ? t("check.look") : phrase(finding.advice);
}

/** @param {{ finding: Finding }} properties */
const Found = ({ finding }) => html`<li class=${finding.wrong ? "finding finding-wrong" : "finding"}>
  <${Icon} name=${finding.wrong ? "triangle-alert" : "info"} size=${18} />
  <span><span class="hidden-visually">${t(finding.wrong ? "check.wrong" : "check.note")}: </span>${phrase(finding.text)}
    ${advice(finding) && html` <span class="soft">${advice(finding)}</span>`}</span></li>`;

/** Check and repair. */
export function Checks() {
  const [content, setContent] = useState(false);
  const checked = latest("check");
  const repaired = latest("repair");
  const busy = isBusy("check") || isBusy("repair");
  const findings = /** @type {Finding[] | null} */ (checked?.state === "done" ? checked.result?.findings ?? [] : null);
  const wrong = findings?.filter((one) => one.wrong) ?? [];
  const repair = async () => {
    if (await ask({ title: t("check.repair_title"), text: t("check.repair_text"), action: t("check.repair") }) !== null) await startAlone("repair");
  };
  return html`<${Section} id="check" title=${t("check.title")} text=${t("check.text")}>
    <div class="form-row">
      <label class="tick-line"><input type="checkbox" checked=${content} onChange=${() => setContent(!content)} /> <span>${t("check.content")}</span></label>
      <${Button} icon="shield-check" busy=${isBusy("check")} disabled=${busy} onClick=${() => start("check", { content })}>${t("check.run")}<//>
    </div>
    <div role="status">
      ${findings && !wrong.length && html`<${Note} icon="circle-check" kind="good" title=${t("check.sound")} />`}
      ${wrong.length > 0 && html`<${Note} icon="wrench" kind="danger" title=${t("check.faults", { count: wrong.length })}
        actions=${html`<${Button} icon="wrench" busy=${isBusy("repair")} disabled=${busy} onClick=${repair}>${t("check.repair")}<//>`} />`}
      ${repaired?.state === "done" && html`<${Note} icon="circle-check" kind="good" title=${t("check.repaired")} />`}
    </div>
    ${findings && findings.length > 0 && html`<ul class="findings">${findings.map((one) => html`<${Found} key=${one.text} finding=${one} />`)}</ul>`}
  <//>`;
}
