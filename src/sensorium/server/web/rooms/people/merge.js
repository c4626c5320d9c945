// Two groups of faces are one person: shown side by side before they become one.

import { html, render, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { Dialog } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { toast } from "../../parts/toast.js";
import { attempt } from "../shared/live.js";
import { called, Portrait } from "./card.js";

/** @import { Person } from "../shared/types.js" */

/**
 * Asks whom a person is the same as, shows both, and merges them.
 * @param {Person} person @param {readonly Person[]} all @param {Person} [other] when it is known already
 * @returns {Promise<number | null>} the id that is left; null when nothing was merged
 */
export function askMerge(person, all, other) {
  const host = document.createElement("div");
  document.body.append(host);
  return new Promise((resolve) => {
    /** @param {number | null} left */
    const end = (left) => {
      render(null, host);
      host.remove();
      resolve(left);
    };
    render(html`<${MergeDialog} person=${person} all=${all} other=${other ?? null} end=${end} />`, host);
  });
}

/** The one whose name and id stay: named before unnamed, then who is on more photos. @param {Person} one @param {Person} other */
const keeps = (one, other) =>
  Boolean(one.name) !== Boolean(other.name) ? (one.name ? one : other) : one.photos >= other.photos ? one : other;

/** @param {{ person: Person, all: readonly Person[], other: Person | null, end: (left: number | null) => void }} properties */
function MergeDialog({ person, all, other: given, end }) {
  const [other, setOther] = useState(given);
  const [words, setWords] = useState("");
  const [busy, setBusy] = useState(false);
  const into = other && keeps(person, other);
  const from = other && (into === person ? other : person);
  const merge = async () => {
    if (!into || !from) return;
    setBusy(true);
    const went = await attempt(() => api.post(`/people/${into.id}/merge`, { others: [from.id] }));
    setBusy(false);
    if (went) toast(t("people.merged", { name: called(into), count: into.photos + from.photos }));
    if (went) end(into.id);
  };
  const choice = all.filter((one) => one.id !== person.id && (one.name ?? "").toLowerCase().includes(words.trim().toLowerCase()));
  const actions = html`<${Button} kind="quiet" onClick=${() => end(null)}>${t("action.cancel")}<//>
    <${Button} kind="primary" icon="merge" disabled=${!other} busy=${busy} onClick=${merge}>${t("people.merge_do")}<//>`;
  return html`<${Dialog} title=${t(given ? "people.same" : "people.merge_title", { name: called(person) })} wide onClose=${() => end(null)} actions=${actions}>
    ${other && html`<div class="merge-both"><${Half} person=${person} /><${Icon} name="merge" /><${Half} person=${other} /></div>
      <p class="merge-result">${t("people.merge_what", { name: called(/** @type {Person} */ (into)) })}</p>`}
    ${!given && html`<label class="field"><span>${t("people.merge_with")}</span>
        <input class="input" type="search" autofocus value=${words} onInput=${(/** @type {any} */ event) => setWords(event.currentTarget.value)} /></label>
      <ul class="merge-list">${choice.map((one) => html`<li key=${one.id}>
        <button type="button" class="merge-choice" aria-pressed=${String(one === other)} onClick=${() => setOther(one)}>
          <${Portrait} person=${one} size=${56} /><span>${called(one)}</span><small>${t("rooms.photos", { count: one.photos })}</small></button></li>`)}</ul>`}
  <//>`;
}

/** @param {{ person: Person }} properties */
const Half = ({ person }) => html`<div class="merge-half"><${Portrait} person=${person} size=${96} />
  <strong>${called(person)}</strong><small>${t("rooms.photos", { count: person.photos })}</small></div>`;
