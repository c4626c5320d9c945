// Light, dark, or as the system says. Colours are light-dark() pairs in tokens.css, so that the switch is one
// attribute.

import { signal } from "../vendor/preact.js";

const KEY = "sensorium.theme";
/** @typedef {"system" | "light" | "dark"} Theme */

/** @type {readonly Theme[]} */
export const THEMES = ["system", "light", "dark"];
export const theme = signal(/** @type {Theme} */ ("system"));

/** @param {Theme} wanted */
export function setTheme(wanted) {
  theme.value = wanted;
  localStorage.setItem(KEY, wanted);
  document.documentElement.dataset.theme = wanted;
}

export function startTheme() {
  const kept = localStorage.getItem(KEY);
  theme.value = kept === "light" || kept === "dark" ? kept : "system";
  document.documentElement.dataset.theme = theme.value;
}
