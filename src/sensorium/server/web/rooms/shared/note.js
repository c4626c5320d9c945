// A remark that stays: something is missing or needs attention, and what to do.

import { html } from "../../vendor/preact.js";
import { t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { Icon } from "../../parts/icon.js";
import { toast, toastError } from "../../parts/toast.js";

/** @import { IconName } from "../../vendor/icons.js" */

/** @param {{ icon?: IconName, kind?: "info" | "warning" | "danger" | "good", title?: string, children?: any, actions?: any }} properties */
export function Note({ icon = "info", kind = "info", title, children, actions }) {
  return html`<div class="note note-${kind}"><${Icon} name=${icon} />
    <div class="note-text">${title && html`<p class="note-title">${title}</p>`}${children}</div>
    ${actions && html`<div class="note-actions">${actions}</div>`}</div>`;
}

/** @param {string} text */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast(t("rooms.copied"));
  } catch (error) { // the browser may refuse, e.g. without TLS: the text is on the screen to be selected
    toastError(error instanceof DOMException ? t("rooms.not_copied") : error);
  }
}

/** Something to take along: a command, a link. @param {{ text: string, label?: string }} properties */
export function Copyable({ text, label }) {
  return html`<span class="copyable"><code tabindex="0">${text}</code>
    <${Button} kind="quiet" icon="copy" label=${label ?? t("rooms.copy")} onClick=${() => copy(text)} /></span>`;
}

/** The commands that a line of the server names between backticks, to be taken along. @param {{ line: string | null }} properties */
export function Commands({ line }) {
  const all = [...(line ?? "").matchAll(/`([^`]+)`/g)].map(([, command]) => command);
  return all.map((command) => html`<${Copyable} key=${command} text=${command} />`);
}

/** A model is missing: how to get it. @param {{ text: string, needs: string | null }} properties */
export function MissingModel({ text, needs }) {
  return html`<${Note} icon="scan-face" kind="warning" title=${text}><p>${t("rooms.pull")}</p><${Commands} line=${needs} /><//>`;
}
