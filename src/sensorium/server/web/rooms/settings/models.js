// Which model understands the photos, and what another one would cost.

import { html } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { bytes, language, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { ask } from "../../parts/dialog.js";
import { isBusy, start } from "../shared/jobs.js";
import { pending, useLive } from "../shared/live.js";
import { Copyable } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { ModelEntry } from "../shared/types.js" */

/** @param {ModelEntry} model */
async function change(model) {
  const sure = await ask({ title: t("models.switch_title", { name: model.name }), text: t("models.switch_text", { count: model.waiting }), action: t("models.switch") });
  if (sure !== null) await start("index", { model: model.name });
}

/** @param {readonly string[]} codes */
function languages(codes) {
  const names = new Intl.DisplayNames([language.value], { type: "language" });
  return codes.map((code) => names.of(code)).join(", ");
}

/** @param {{ model: ModelEntry }} properties */
function Model({ model }) {
  const facts = [model.languages?.length && languages(model.languages), model.bytes && bytes(model.bytes),
    model.photos > 0 && t("models.encoded", { count: model.photos })].filter(Boolean);
  return html`<li class=${model.answering ? "entry entry-chosen" : "entry"}>
    <div class="entry-words"><span class="entry-name">${model.name} ${model.answering && html`<span class="badge">${t("models.answering")}</span>`}</span>
      <span class="entry-more">${facts.join(" · ")}</span>
      ${!model.here && html`<${Copyable} text=${`sensorium models pull ${model.name}`} />`}</div>
    ${model.here && !model.answering && html`<${Button} disabled=${isBusy("index")} onClick=${() => change(model)}
      label=${t("models.switch_to", { name: model.name })}>${t("models.switch")}<//>`}
  </li>`;
}

/** The part of the settings. */
export function Models() {
  const models = useLive((signal) => /** @type {Promise<{ models: ModelEntry[] }>} */ (api.get("/models", { signal })));
  const all = models.data?.models.toSorted((one, other) => Number(other.answering) - Number(one.answering) || Number(other.here) - Number(one.here)) ?? [];
  /** @param {readonly ModelEntry[]} some */
  const list = (some) => html`<ul class="entries">${some.map((model) => html`<${Model} key=${model.name} model=${model} />`)}</ul>`;
  return html`<${Section} id="model" title=${t("models.title")} text=${t("models.text")}>
    ${pending(models) ?? html`${list(all.filter((model) => model.here || model.photos > 0))}
      <details class="more-models"><summary>${t("models.others", { count: all.filter((model) => !model.here).length })}</summary>
        ${list(all.filter((model) => !model.here && !model.photos))}</details>`}<//>`;
}
