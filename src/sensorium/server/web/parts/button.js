import { html } from "../vendor/preact.js";
import { Icon } from "./icon.js";

/** @import { ComponentChildren } from "preact" */
/** @import { IconName } from "../vendor/icons.js" */

/**
 * @typedef {object} ButtonProperties
 * @property {IconName} [icon]
 * @property {string} [label] the accessible name and tooltip of a button that shows only its icon
 * @property {ComponentChildren} [children]
 * @property {"plain" | "primary" | "danger" | "quiet"} [kind]
 * @property {string} [href] makes it a link
 * @property {boolean} [disabled]
 * @property {boolean} [pressed] for a button that stays down
 * @property {boolean} [filled] fills the icon
 * @property {boolean} [busy] shows that work is under way, and takes no second press
 * @property {(event: MouseEvent) => void} [onClick]
 * @property {string} [class]
 * @property {"button" | "submit"} [type]
 */

/** A button, or with `href` a link that looks like one. @param {ButtonProperties & Record<string, any>} properties */
export function Button({ icon, label, children, kind = "plain", href, disabled, pressed, filled, busy, onClick,
  class: extra = "", type = "button", ...rest }) {
  const classes = `button button-${kind} ${children ? "" : "button-icon"} ${extra}`;
  const inside = html`${icon && html`<${Icon} name=${busy ? "loader-circle" : icon} filled=${filled} />`}
    ${children && html`<span>${children}</span>`}`;
  if (href) return html`<a class=${classes} href=${href} aria-label=${label} title=${label} onClick=${onClick} ...${rest}>${inside}</a>`;
  return html`<button type=${type} class=${classes} aria-label=${label} title=${label} disabled=${disabled || busy}
    aria-pressed=${pressed === undefined ? undefined : String(pressed)} aria-busy=${busy ? "true" : undefined}
    onClick=${onClick} ...${rest}>${inside}</button>`;
}
