// The search box of the top bar. Enter searches; while a Chinese word is being composed, Enter belongs to the
// input method. Pictures can be dropped on it (or anywhere in the window), pasted, or chosen.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { api, query } from "../lib/api.js";
import { said, t } from "../lib/i18n.js";
import { addTerm, searchByFile } from "../lib/picture-search.js";
import { covered, navigate, route } from "../lib/router.js";
import { readSearch, searchAddress } from "../lib/search-state.js";
import { Button } from "./button.js";
import { SlotIcon } from "./chips.js";
import { PHOTO_TYPE } from "./grid/input.js";
import { Icon } from "./icon.js";

/** @import { Chip, Suggestion } from "../lib/types.js" */

/** @type {Record<Suggestion["kind"], import("../vendor/icons.js").IconName>} */
export const SUGGESTION_ICONS = { look: "sparkles", person: "user-round", place: "map-pin", year: "calendar" };

/** Milliseconds of rest in typing before the words are parsed to show how they are understood. */
const REST = 180;

/** @param {KeyboardEvent} event is an input method composing? (229: how some of them say it) */
const composing = (event) => event.isComposing || event.keyCode === 229;

/** @param {EventTarget | null} target does typing there mean text? */
const isTyping = (target) => target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** @param {DragEvent} event @returns {"photo" | "file" | null} what is dragged, if it is ours */
function dragged(event) {
  const types = event.dataTransfer?.types ?? [];
  return types.includes(PHOTO_TYPE) ? "photo" : types.includes("Files") ? "file" : null;
}

/** @param {DragEvent} event */
function drop(event) {
  const kind = dragged(event);
  if (!kind || !event.dataTransfer) return;
  event.preventDefault();
  if (kind === "photo") addTerm({ photo_id: Number(event.dataTransfer.getData(PHOTO_TYPE)), weight: 1 });
  else void searchByFile(event.dataTransfer.files[0]);
}

/** Files can be dropped anywhere, photos of the page on the box. @returns {"photo" | "file" | null} what is over the page */
function useDrop() {
  const [over, setOver] = useState(/** @type {"photo" | "file" | null} */ (null));
  useEffect(() => {
    const stop = new AbortController();
    const { signal } = stop;
    let depth = 0;
    addEventListener("dragenter", (event) => { depth++; setOver(dragged(event)); }, { signal });
    addEventListener("dragleave", () => { depth = Math.max(0, depth - 1); if (!depth) setOver(null); }, { signal });
    addEventListener("dragover", (event) => { if (dragged(event) === "file") event.preventDefault(); }, { signal });
    const end = () => { depth = 0; setOver(null); };
    addEventListener("dragend", end, { signal });
    addEventListener("drop", (event) => { end(); if (dragged(event) === "file") drop(event); }, { signal });
    return () => stop.abort();
  }, []);
  return over;
}

/** How the words are understood while they are typed. @param {string} text @param {boolean} wanted */
function useParse(text, wanted) {
  const [chips, setChips] = useState(/** @type {Chip[]} */ ([]));
  useEffect(() => {
    if (!wanted || !text.trim()) {
      setChips([]);
      return undefined;
    }
    const stop = new AbortController();
    const timer = setTimeout(() => {
      api.get(`/parse${query({ q: text })}`, { signal: stop.signal }).then((parse) => setChips(parse.chips), () => setChips([]));
    }, REST);
    return () => { clearTimeout(timer); stop.abort(); };
  }, [text, wanted]);
  return chips;
}

/** @param {boolean} wanted @returns {Suggestion[]} example sentences of this library, asked for once */
function useSuggestions(wanted) {
  const [all, setAll] = useState(/** @type {Suggestion[] | null} */ (null));
  useEffect(() => {
    if (!wanted || all) return;
    api.get("/suggestions").then((answer) => setAll(answer.suggestions), () => setAll([]));
  }, [wanted]);
  return all ?? [];
}

export function SearchBox() {
  const state = readSearch(route.value.query);
  const shown = route.value.parts[0] === "search" ? state.q : "";
  const [text, setText] = useState(shown);
  const [open, setOpen] = useState(false);
  const [composes, setComposes] = useState(false);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const file = useRef(/** @type {HTMLInputElement | null} */ (null));
  const form = useRef(/** @type {HTMLFormElement | null} */ (null));
  const over = useDrop();
  useEffect(() => setText(shown), [shown]);
  useEffect(() => {
    const slash = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || covered.peek()) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    addEventListener("keydown", slash);
    return () => removeEventListener("keydown", slash);
  }, []);
  const chips = useParse(text, open && !composes && text !== shown);
  const suggestions = useSuggestions(open && !text);
  /** @param {string} words */
  const search = (words) => {
    setOpen(false);
    input.current?.blur();
    if (words.trim()) navigate(searchAddress({ q: words.trim(), sort: state.sort }));
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (composing(event)) return;
    if (event.key === "Enter") { event.preventDefault(); search(text); }
    else if (event.key === "Escape") { setOpen(false); input.current?.blur(); }
    else if (event.key === "ArrowDown" && !text) {
      form.current?.querySelector(/** @type {"button"} */ (".suggestion"))?.focus();
      event.preventDefault();
    }
  };
  /** @param {FocusEvent} event */
  const left = (event) => { if (!(event.relatedTarget instanceof Node && form.current?.contains(event.relatedTarget))) setOpen(false); };
  return html`<form class=${over === "photo" ? "search-box target" : "search-box"} role="search" ref=${form} onFocusOut=${left}
      onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); search(text); }}
      onDragOver=${(/** @type {DragEvent} */ event) => { if (dragged(event)) event.preventDefault(); }}
      onDrop=${(/** @type {DragEvent} */ event) => { if (dragged(event) === "photo") drop(event); }}>
    <${Icon} name="search" />
    <input ref=${input} type="search" enterkeyhint="search" autocomplete="off" spellcheck=${false} maxlength="1000"
      aria-label=${t("search.box")} placeholder=${t(over === "photo" ? "search.drop" : "search.box")} value=${text}
      onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} onFocus=${() => setOpen(true)}
      onKeyDown=${keys} onCompositionStart=${() => setComposes(true)} onCompositionEnd=${() => setComposes(false)}
      onPaste=${(/** @type {ClipboardEvent} */ event) => { const picture = event.clipboardData?.files[0]; if (picture) { event.preventDefault(); void searchByFile(picture); } }} />
    ${text && html`<${Button} kind="quiet" icon="x" label=${t("search.clear")} onClick=${() => { setText(""); input.current?.focus(); }} />`}
    <${Button} kind="quiet" icon="image-plus" label=${t("search.by_picture")} onClick=${() => file.current?.click()} />
    <input ref=${file} type="file" accept="image/*" hidden onChange=${(/** @type {any} */ event) => { void searchByFile(event.currentTarget.files[0]); event.currentTarget.value = ""; }} />
    ${open && (chips.length > 0 || (!text && suggestions.length > 0)) && html`<div class="search-panel">
      ${chips.length > 0 && html`<p class="soft small">${t("search.understood")}</p>
        <div class="row">${chips.map((chip) => html`<span key=${chip.id} class="chip plain"><${SlotIcon} slot=${chip.slot} />${said(chip.label)}</span>`)}</div>`}
      ${!text && html`<p class="soft small">${t("search.examples")}</p>
        <ul class="suggestions">${suggestions.map((one) => html`<li key=${one.label.en}>
          <button type="button" class="suggestion" onClick=${() => { setText(said(one.query)); search(said(one.query)); }}>
            <${Icon} name=${SUGGESTION_ICONS[one.kind]} size=${16} />${said(one.label)}</button></li>`)}</ul>`}
    </div>`}
  </form>
  ${over === "file" && html`<div class="drop-veil"><div><${Icon} name="image-plus" size=${48} /><p>${t("search.drop")}</p></div></div>`}`;
}
