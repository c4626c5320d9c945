// The bars of the cutting view: what a click does, which of the answers is meant, words, undo, saving.

import { html, useState } from "../../vendor/preact.js";
import { number, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { Icon } from "../../parts/icon.js";
import { isStart, selected } from "./work.js";

/** @import { IconName } from "../../vendor/icons.js" */
/** @import { CutMask } from "../shared/types.js" */
/** @import { Work } from "./work.js" */
/** @import { Tool } from "./stage.js" */

/** @type {[Tool, IconName][]} */
const TOOLS = [["fresh", "mouse-pointer-click"], ["add", "plus"], ["remove", "minus"], ["box", "square-dashed-mouse-pointer"]];

/**
 * One of a few: radio buttons in a row, which arrows walk through.
 * @template T
 * @param {{ name: string, label: string, options: { value: T, label: string, icon?: IconName, title?: string }[], value: T, choose: (value: T) => void }} properties
 */
export function OneOf({ name, label, options, value, choose }) {
  return html`<div class="cut-choice" role="radiogroup" aria-label=${label}>
    ${options.map((option) => html`<label class="cut-option" title=${option.title}>
      <input type="radio" name=${name} class="hidden-visually" checked=${option.value === value} onChange=${() => choose(option.value)} />
      ${option.icon && html`<${Icon} name=${option.icon} size=${18} />`}<span>${option.label}</span></label>`)}
  </div>`;
}

/** What a click does. @param {{ tool: Tool, setTool: (tool: Tool) => void }} properties */
export function Tools({ tool, setTool }) {
  const options = TOOLS.map(([value, icon]) => ({ value, icon, label: t(`cut.tool_${value}`), title: t(`cut.tool_${value}_how`) }));
  return html`<${OneOf} name="cut-tool" label=${t("cut.tools")} options=${options} value=${tool} choose=${setTool} />`;
}

/**
 * The answers that differ: of each level the best one, of words each with its score.
 * @param {readonly CutMask[]} masks
 * @returns {{ value: number | null, label: string }[]}
 */
function choicesOf(masks) {
  const levels = [.../** @type {const} */ (["part", "object", "whole"])].flatMap((level) => {
    const of = masks.filter((mask) => mask.level === level).sort((a, b) => b.quality - a.quality);
    return of.length ? [{ value: masks.indexOf(of[0]), label: t(`cut.${level}`) }] : [];
  });
  if (levels.length) return levels;
  return masks.map((mask, index) => ({ value: index,
    label: mask.score === null ? String(index + 1) : `${index + 1} · ${number(mask.score, { style: "percent" })}` }));
}

/** Which of several answers is meant. @param {{ work: Work }} properties */
export function Choices({ work }) {
  const step = work.step.value;
  if (!step || !isStart(step.prompt) || step.answer.masks.length < 2) return null;
  const { masks } = step.answer;
  const options = choicesOf(masks);
  if (step.prompt.all) options.unshift({ value: null, label: t("cut.all") });
  if (options.length < 2) return null;
  const [shown] = selected(step);
  const level = masks[0].level === null ? null : shown.level;
  const value = step.prompt.all && step.prompt.choice === null ? null
    : level ? options.find((option) => option.value !== null && masks[option.value].level === level)?.value : masks.indexOf(shown);
  return html`<${OneOf} name="cut-answer" label=${t("cut.answers")} options=${options} value=${value} choose=${work.choose} />`;
}

/** Words to search for. @param {{ work: Work }} properties */
export function Words({ work }) {
  const [words, setWords] = useState("");
  const [all, setAll] = useState(false);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (words.trim()) void work.find(words.trim(), all);
  };
  return html`<form class="cut-words" role="search" onSubmit=${submit}>
    <input class="input" type="search" enterkeyhint="search" maxlength="200" aria-label=${t("cut.words")} placeholder=${t("cut.words_example")}
      value=${words} onInput=${(/** @type {any} */ event) => setWords(event.currentTarget.value)} />
    <label class="cut-check"><input type="checkbox" checked=${all} onChange=${(/** @type {any} */ event) => setAll(event.currentTarget.checked)} />
      <span>${t("cut.all")}</span></label>
    <${Button} type="submit" icon="search" kind="quiet" label=${t("cut.find")} disabled=${!words.trim()} />
  </form>`;
}

const COPIES = () => "clipboard" in navigator && "write" in navigator.clipboard && "ClipboardItem" in window;

/** Undo, zoom, and taking the cut-out along. @param {{ work: Work, name: string, zoomBy: (by: number) => void, cropped: boolean, setCropped: (cropped: boolean) => void }} properties */
export function Actions({ work, name, zoomBy, cropped, setCropped }) {
  const none = work.step.value === null;
  const saving = work.saving.value;
  const editor = work.looked.value?.editor;
  return html`<div class="cut-actions" role="toolbar" aria-label=${t("cut.toolbar")}>
    <${Button} icon="undo-2" kind="quiet" label=${t("action.undo")} disabled=${!work.canUndo.value} onClick=${() => work.travel(-1)} />
    <${Button} icon="redo-2" kind="quiet" label=${t("cut.redo")} disabled=${!work.canRedo.value} onClick=${() => work.travel(1)} />
    <${Button} icon="zoom-out" kind="quiet" class="wide-only" label=${t("viewer.zoom_out")} onClick=${() => zoomBy(1 / 1.5)} />
    <${Button} icon="zoom-in" kind="quiet" class="wide-only" label=${t("viewer.zoom_in")} onClick=${() => zoomBy(1.5)} />
    <label class="cut-check"><input type="checkbox" checked=${cropped} onChange=${(/** @type {any} */ event) => setCropped(event.currentTarget.checked)} />
      <span>${t("cut.cropped")}</span></label>
    ${COPIES() && html`<${Button} icon="copy" kind="quiet" label=${t("cut.copy")} disabled=${none || saving} onClick=${() => work.copy(cropped)} />`}
    ${editor && html`<${Button} icon="square-pen" kind="quiet" label=${t("cut.edit", { editor })} disabled=${none || saving} onClick=${() => work.edit(cropped)} />`}
    <${Button} icon="download" kind="primary" disabled=${none} busy=${saving} onClick=${() => work.save(name, cropped)}>${t("cut.save")}<//>
  </div>`;
}
