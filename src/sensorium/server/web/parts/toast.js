import { html, signal } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { Button } from "./button.js";

/** @typedef {{ id: number, text: string, kind: "info" | "error", action?: { label: string, run: () => void } }} Toast */

const toasts = signal(/** @type {readonly Toast[]} */ ([]));
let last = 0;

/** @param {number} id */
const remove = (id) => void (toasts.value = toasts.value.filter((one) => one.id !== id));

/**
 * A line that appears for some seconds and is read out; an error stays longer.
 * @param {string} text
 * @param {{ kind?: "info" | "error", action?: { label: string, run: () => void } }} [options] e.g. an undo
 */
export function toast(text, options = {}) {
  const id = ++last;
  toasts.value = [...toasts.value.slice(-2), { id, text, kind: options.kind ?? "info", action: options.action }];
  setTimeout(() => remove(id), options.action || options.kind === "error" ? 10_000 : 4_000);
}

/** Shows what went wrong, unless it was called off on purpose. @param {unknown} error */
export function toastError(error) {
  if (error instanceof DOMException && error.name === "AbortError") return;
  toast(error instanceof Error ? error.message : String(error), { kind: "error" });
}

/** The lines themselves. Part of the shell: the live region must stand before a line appears in it. */
export function Toasts() {
  return html`<div class="toasts" role="status" aria-live="polite">
    ${toasts.value.map((one) => html`<div key=${one.id} class="toast toast-${one.kind}">
      <span>${one.text}</span>
      ${one.action && html`<${Button} kind="quiet" onClick=${() => { remove(one.id); one.action?.run(); }}>${one.action.label}<//>`}
      <${Button} icon="x" kind="quiet" label=${t("action.close")} onClick=${() => remove(one.id)} />
    </div>`)}
  </div>`;
}
