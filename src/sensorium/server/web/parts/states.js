import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { Button } from "./button.js";
import { Icon } from "./icon.js";

/** @import { ComponentChildren } from "preact" */
/** @import { IconName } from "../vendor/icons.js" */

/**
 * What a room shows when it has nothing to show: why, and what to do.
 * @param {{ icon: IconName, title: string, text?: string, children?: ComponentChildren }} properties
 */
export function Empty({ icon, title, text, children }) {
  return html`<div class="empty"><${Icon} name=${icon} size=${44} /><h2>${title}</h2>
    ${text && html`<p>${text}</p>`}${children && html`<div class="empty-actions">${children}</div>`}</div>`;
}

/** Something went wrong, said in one line, with another try. @param {{ error: unknown, retry?: () => void }} properties */
export function Failed({ error, retry }) {
  return html`<div class="empty" role="alert"><${Icon} name="triangle-alert" size=${44} />
    <h2>${t("error.title")}</h2><p>${error instanceof Error ? error.message : String(error)}</p>
    ${retry && html`<div class="empty-actions"><${Button} icon="refresh-cw" onClick=${retry}>${t("action.retry")}<//></div>`}
  </div>`;
}

/** Work is under way. @param {{ label?: string }} properties */
export function Loading({ label }) {
  return html`<div class="loading" role="status"><span class="spinner"></span><span class="hidden-visually">${label ?? t("state.loading")}</span></div>`;
}
