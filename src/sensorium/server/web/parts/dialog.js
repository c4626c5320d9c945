import { html, signal, useEffect, useRef, useState } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { Button } from "./button.js";

/** @import { ComponentChildren } from "preact" */

/**
 * A modal window. The browser's own <dialog> keeps the focus inside and closes on Escape.
 * @param {{ title: string, onClose: () => void, children?: ComponentChildren, actions?: ComponentChildren,
 *   wide?: boolean }} properties
 */
export function Dialog({ title, onClose, children, actions, wide = false }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return html`<dialog ref=${element} class=${wide ? "dialog dialog-wide" : "dialog"} aria-label=${title}
      onCancel=${(/** @type {Event} */ event) => { event.preventDefault(); onClose(); }}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.stopPropagation()}
      onMouseDown=${(/** @type {MouseEvent} */ event) => { if (event.target === element.current) onClose(); }}>
    <div class="dialog-body">
      <header class="dialog-head"><h2>${title}</h2>
        <${Button} icon="x" kind="quiet" label=${t("action.close")} onClick=${onClose} /></header>
      <div class="dialog-content">${children}</div>
      ${actions && html`<footer class="dialog-actions">${actions}</footer>`}
    </div>
  </dialog>`;
}

/**
 * @typedef {object} Question
 * @property {string} title
 * @property {string} [text]
 * @property {string} [action] words of the button that does it
 * @property {boolean} [danger]
 * @property {{ label: string, value?: string, required?: boolean }} [input] asks for a line of text
 * @property {string} [typed] the word that must be typed before the button can be pressed
 */

const question = signal(/** @type {(Question & { answer: (value: string | null) => void }) | null} */ (null));

/**
 * Asks and waits. Gives the text that was typed ("" without an input), null when it was called off.
 * @param {Question} asked
 * @returns {Promise<string | null>}
 */
export const ask = (asked) => new Promise((resolve) => {
  question.value = { ...asked, answer: (value) => { question.value = null; resolve(value); } };
});

/** The question that `ask` put, when there is one. Part of the shell. */
export function Questions() {
  const asked = question.value;
  return asked && html`<${AskDialog} key=${asked.title} asked=${asked} />`;
}

/** @param {{ asked: Question & { answer: (value: string | null) => void } }} properties */
function AskDialog({ asked }) {
  const [text, setText] = useState(asked.input?.value ?? "");
  const wanted = asked.typed;
  const ready = wanted ? text.trim() === wanted : !asked.input?.required || text.trim() !== "";
  const cancel = () => asked.answer(null);
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (ready) asked.answer(text.trim());
  };
  return html`<${Dialog} title=${asked.title} onClose=${cancel}>
    <form class="stack" onSubmit=${submit}>
      ${asked.text && html`<p>${asked.text}</p>`}
      ${(asked.input || wanted) && html`<label class="field"><span>${asked.input?.label ?? t("ask.type", { word: wanted ?? "" })}</span>
        <input class="input" autofocus value=${text}
          onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} /></label>`}
      <footer class="dialog-actions">
        <${Button} kind="quiet" onClick=${cancel}>${t("action.cancel")}<//>
        <${Button} type="submit" kind=${asked.danger ? "danger" : "primary"} disabled=${!ready}
          autofocus=${!asked.input && !wanted}>${asked.action ?? t("action.ok")}<//>
      </footer>
    </form>
  <//>`;
}
