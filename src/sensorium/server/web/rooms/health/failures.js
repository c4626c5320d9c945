// Files that could not be taken, by reason, with another try for one or all.

import { html, useState } from "../../vendor/preact.js";
import { may } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { isBusy, start } from "../shared/jobs.js";
import { phrase } from "../shared/phrases.js";
import { Section } from "../shared/section.js";

/** @import { Failure, Undescribed } from "../shared/types.js" */

const FIRST = 10; // files of a reason that are shown at once

/** @typedef {{ key: string, folder: string, path: string, again: () => void }} File */

/**
 * @template {{ reason: string }} T
 * @param {readonly T[]} files
 * @returns {[string, T[]][]} the most frequent reason first
 */
function byReason(files) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const one of files) {
    const reason = phrase(one.reason);
    groups.set(reason, [...(groups.get(reason) ?? []), one]);
  }
  return [...groups].toSorted(([, one], [, other]) => other.length - one.length);
}

/** @param {{ reason: string, files: File[], busy: boolean }} properties */
function Reason({ reason, files, busy }) {
  const [shown, setShown] = useState(FIRST);
  return html`<details class="failure" open=${files.length <= FIRST}>
    <summary><span class="failure-reason">${reason}</span><span class="badge">${t("rooms.files", { count: files.length })}</span></summary>
    <ul>${files.slice(0, shown).map((one) => html`<li key=${one.key}>
      <span class="failure-path"><span class="soft">${one.folder}</span>${one.path}</span>
      ${may("admin") && html`<${Button} kind="quiet" icon="rotate-ccw" disabled=${busy} label=${t("failures.again", { name: one.path })}
        onClick=${one.again} />`}</li>`)}</ul>
    ${files.length > shown && html`<${Button} kind="quiet" icon="chevron-down" onClick=${() => setShown(shown * 5)}>
      ${t("failures.more", { count: files.length - shown })}<//>`}
  </details>`;
}

/** Files that are no photos here. @param {{ failures: readonly Failure[], total: number }} properties */
export function FailedFiles({ failures, total }) {
  if (!failures.length) return null;
  const busy = isBusy("retry") || isBusy("index");
  const all = may("admin") && html`<${Button} icon="rotate-ccw" busy=${busy} onClick=${() => start("retry", { ids: null })}>${t("failures.all")}<//>`;
  /** @param {Failure} one @returns {File} */
  const file = (one) => ({ key: String(one.id), folder: `${one.root_path.replace(/\/$/, "")}/`, path: one.path, again: () => start("retry", { ids: [one.id] }) });
  return html`<${Section} id="failures" title=${t("failures.title")} text=${t("failures.text")} actions=${all}>
    ${byReason(failures).map(([reason, files]) => html`<${Reason} key=${reason} reason=${reason} files=${files.map(file)} busy=${busy} />`)}
    ${total > failures.length && html`<p class="room-text">${t("failures.rest", { count: total - failures.length })}</p>`}<//>`;
}

/** Photos that are here, but of which something could not be found out. @param {{ files: readonly Undescribed[] }} properties */
export function UndescribedFiles({ files }) {
  if (!files.length) return null;
  const busy = isBusy("describe");
  const again = () => start("describe", { again: true });
  const all = may("admin") && html`<${Button} icon="rotate-ccw" busy=${busy} onClick=${again}>${t("failures.all")}<//>`;
  return html`<${Section} id="undescribed" title=${t("undescribed.title")} text=${t("undescribed.text")} actions=${all}>
    ${byReason(files).map(([reason, some]) => html`<${Reason} key=${reason} reason=${reason} busy=${busy}
      files=${some.map((one) => ({ key: one.pass + one.path, folder: "", path: one.path, again }))} />`)}<//>`;
}
