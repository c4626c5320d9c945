import { h } from "../vendor/preact.js";
import { icons } from "../vendor/icons.js";

/** @import { IconName } from "../vendor/icons.js" */

/**
 * An icon of the set in vendor/icons.js. Decoration only: the control around it carries the name.
 * @param {{ name: IconName, size?: number, filled?: boolean }} properties
 */
export function Icon({ name, size = 20, filled = false }) {
  return h("svg", {
    class: filled ? "icon icon-filled" : "icon", width: size, height: size, viewBox: "0 0 24 24",
    "aria-hidden": "true", focusable: "false",
  }, icons[name].map(([tag, attributes]) => h(tag, attributes)));
}
