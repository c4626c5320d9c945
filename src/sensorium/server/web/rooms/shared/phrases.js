// Lines that the library says in English only (why a file failed, what a check found), in the page's language.
// The Chinese ones are patterns in i18n/phrases.zh.json; a line that no pattern knows is shown as it is.

import { computed, signal } from "../../vendor/preact.js";
import { language } from "../../lib/i18n.js";

const known = signal(/** @type {[RegExp, string][]} */ ([]));
let asked = false;

async function load() {
  const answer = await fetch(new URL("../../i18n/phrases.zh.json", import.meta.url));
  if (!answer.ok) return;
  known.value = Object.entries(await answer.json()).map(([pattern, words]) => [new RegExp(pattern), words]);
}

const patterns = computed(() => {
  if (language.value !== "zh") return [];
  if (!asked) load().catch(console.warn);
  asked = true;
  return known.value;
});

/** @param {string} text @returns {string} */
export function phrase(text) {
  const found = patterns.value.find(([pattern]) => pattern.test(text));
  return found ? text.replace(found[0], found[1]) : text;
}
