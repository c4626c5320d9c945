// How a query was understood, a chip for each piece: each can be taken out, words and pictures can be weighed.

import { html, useState } from "../vendor/preact.js";
import { thumbnail } from "../lib/api.js";
import { number, said, t } from "../lib/i18n.js";
import { addTerm } from "../lib/picture-search.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** @import { IconName } from "../vendor/icons.js" */
/** @import { Chip, QueryDocument } from "../lib/types.js" */
/** @typedef {{ words: string | null, image: string | null, weight: number }} QueryTerm */

/** Icon of each slot of a query. @type {Record<string, IconName>} */
const ICONS = {
  text: "sparkles", term: "sparkles", time: "calendar", months: "calendar", place: "map-pin", person: "user-round",
  camera: "camera", media: "film", exclude: "ban",
};
const WEIGHTS = [0.5, 1, 1.5, 2, 3];

/** @param {{ slot: string }} properties */
export const SlotIcon = ({ slot }) => html`<${Icon} name=${ICONS[slot] ?? "tag"} size=${16} />`;

/** @param {string} slot */
function slotName(slot) {
  const name = t(`search.slot.${slot}`);
  return name.startsWith("search.slot.") ? t("search.slot.text") : name;
}

/** @param {QueryDocument} query @returns {QueryTerm[]} */
export const termsOf = (query) => /** @type {QueryTerm[]} */ (Array.isArray(query.terms) ? query.terms : []);

/** @param {{ term: QueryTerm }} properties */
function TermPicture({ term }) {
  const [kind, id] = (term.image ?? "").split(":");
  const source = kind === "photo" ? thumbnail(Number(id), 240)
    : `/api/v1/search/image/${encodeURIComponent(id ?? "")}`;
  return html`<img src=${source} alt="" width="28" height="28" />`;
}

/**
 * A word or picture that is added or subtracted, with its sign and weight.
 * @param {{ term: QueryTerm, change: (term: QueryTerm | null) => void }} properties
 */
function TermChip({ term, change }) {
  const name = term.words ?? t(term.image?.startsWith("upload") ? "search.upload" : "search.picture");
  const minus = term.weight < 0;
  const size = Math.abs(term.weight);
  const choices = WEIGHTS.includes(size) ? WEIGHTS : [...WEIGHTS, size].sort((a, b) => a - b);
  return html`<span class=${minus ? "chip term minus" : "chip term"} data-slot="term">
    <button type="button" class="chip-part sign" aria-label=${t("search.toggle_sign", { name })} title=${t(minus ? "search.minus" : "search.plus")}
      onClick=${() => change({ ...term, weight: -term.weight })}><${Icon} name=${minus ? "minus" : "plus"} size=${16} /></button>
    ${term.image ? html`<${TermPicture} term=${term} />` : html`<span>${name}</span>`}
    ${term.image && html`<span class="hidden-visually">${name}</span>`}
    <select class="chip-part weight" aria-label=${t("search.weight", { name })} value=${String(size)}
      onChange=${(/** @type {any} */ event) => change({ ...term, weight: Math.sign(term.weight) * Number(event.currentTarget.value) })}>
      ${choices.map((value) => html`<option key=${value} value=${String(value)} selected=${value === size}>×${number(value)}</option>`)}
    </select>
    <button type="button" class="chip-part" aria-label=${t("action.remove", { name })} onClick=${() => change(null)}><${Icon} name="x" size=${14} /></button>
  </span>`;
}

/** A small form that adds a word or takes it away. */
function AddTerm() {
  const [open, setOpen] = useState(false);
  const [words, setWords] = useState("");
  /** @param {1 | -1} weight */
  const add = (weight) => {
    if (!words.trim()) return;
    addTerm({ words: words.trim(), weight });
    setWords("");
    setOpen(false);
  };
  if (!open) {
    return html`<button type="button" class="chip add" onClick=${() => setOpen(true)}><${Icon} name="plus" size=${16} />${t("search.add_term")}</button>`;
  }
  return html`<form class="chip add-form" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); add(1); }}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => { if (event.key === "Escape") setOpen(false); }}>
    <input autofocus ref=${(/** @type {HTMLInputElement | null} */ element) => { if (element && !words) element.focus(); }} value=${words} maxlength="200"
      placeholder=${t("search.add_words")} aria-label=${t("search.add_words")} onInput=${(/** @type {any} */ event) => setWords(event.currentTarget.value)} />
    <${Button} kind="quiet" icon="plus" label=${t("search.add_plus")} type="submit" />
    <${Button} kind="quiet" icon="minus" label=${t("search.add_minus")} onClick=${() => add(-1)} />
  </form>`;
}

/**
 * A query in which one term has another weight. The slots that follow from the terms follow.
 * @param {QueryDocument} query @param {number} index @param {QueryTerm} changed
 * @returns {QueryDocument}
 */
function weighed(query, index, changed) {
  const terms = termsOf(query).map((term, i) => (i === index ? changed : term));
  const wanted = terms.filter((term) => term.words && term.weight > 0).map((term) => term.words);
  const unwanted = /** @type {string[]} */ (query.exclude ?? []).filter((words) => !wanted.includes(words));
  return { ...query, said: "", readings: [], terms, text: wanted.join(" "), exclude: unwanted };
}

/**
 * @param {{ chips: readonly Chip[], query: QueryDocument, onQuery: (query: QueryDocument) => void }} properties
 *   `onQuery` gets the corrected query
 */
export function Chips({ chips, query, onQuery }) {
  const terms = termsOf(query);
  // The server's chips of terms, in the order of the terms, know what the query is without each.
  const slots = chips.filter((chip) => chip.slot !== "term");
  const without = chips.filter((chip) => chip.slot === "term");
  /** @param {number} index @param {QueryTerm | null} changed null takes it out */
  const change = (index, changed) => onQuery(changed ? weighed(query, index, changed) : without[index]?.remove ?? query);
  return html`<ul class="chips" aria-label=${t("search.understood")}>
    ${slots.map((chip) => html`<li key=${chip.id}><span class=${chip.slot === "exclude" ? "chip minus" : "chip"} data-slot=${chip.slot}>
      <${SlotIcon} slot=${chip.slot} /><span><span class="hidden-visually">${slotName(chip.slot)}: </span>${said(chip.label)}</span>
      <button type="button" class="chip-part" aria-label=${t("action.remove", { name: said(chip.label) })} onClick=${() => onQuery(chip.remove)}>
        <${Icon} name="x" size=${14} /></button></span></li>`)}
    ${terms.map((term, index) => html`<li key=${`${term.words}${term.image}`}>
      <${TermChip} term=${term} change=${(/** @type {QueryTerm | null} */ changed) => change(index, changed)} /></li>`)}
    <li><${AddTerm} /></li>
  </ul>`;
}
