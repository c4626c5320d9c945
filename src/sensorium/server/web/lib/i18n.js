// English and Chinese. Texts are flat keys in i18n/*.json; a text that depends on a number is an object of
// the plural forms of Intl.PluralRules. `t` reads the language signal, so that what shows it draws itself anew.

import { signal } from "../vendor/preact.js";

/** @import { Language, Words } from "./types.js" */

const KEY = "sensorium.language";
/** How dates and numbers are written: by the reader's region where it fits the language. */
const LOCALES = {
  en: navigator.languages.find((tag) => /^en\b/i.test(tag)) ?? "en",
  zh: navigator.languages.find((tag) => /^zh\b/i.test(tag)) ?? "zh-CN",
};
const FILES = ["", "rooms."];

/** @type {Map<Language, Record<string, string | Record<string, string>>>} */
const texts = new Map();
/** @type {Map<string, Intl.DateTimeFormat>} */
const dateFormats = new Map();

/** The language that the page speaks. */
export const language = signal(/** @type {Language} */ ("en"));

/** @returns {Language} what was chosen, else what the browser prefers */
function preferred() {
  const chosen = localStorage.getItem(KEY);
  if (chosen === "en" || chosen === "zh") return chosen;
  const first = navigator.languages.find((tag) => /^(en|zh)\b/i.test(tag));
  return first?.toLowerCase().startsWith("zh") ? "zh" : "en";
}

/** @param {Language} wanted */
async function load(wanted) {
  if (texts.has(wanted)) return;
  const parts = await Promise.all(FILES.map(async (prefix) => {
    const response = await fetch(new URL(`../i18n/${prefix}${wanted}.json`, import.meta.url));
    return response.ok ? response.json() : {};
  }));
  texts.set(wanted, Object.assign({}, ...parts));
}

/** @param {Language} wanted */
function use(wanted) {
  language.value = wanted;
  document.documentElement.lang = LOCALES[wanted];
}

/** Loads the texts of the preferred language; called once before anything is drawn. */
export async function startLanguage() {
  const wanted = preferred();
  await load(wanted);
  use(wanted);
}

/** @param {Language} wanted Switches the page and remembers it. */
export async function setLanguage(wanted) {
  await load(wanted);
  localStorage.setItem(KEY, wanted);
  use(wanted);
}

/** @param {string} key */
export const has = (key) => texts.get(language.value)?.[key] !== undefined;

/**
 * The text of a key in the current language; the key itself where there is none.
 * `count` chooses the plural form; numbers are written as the language writes them.
 * @param {string} key
 * @param {Record<string, string | number>} [values] fill {name} in the text
 * @returns {string}
 */
export function t(key, values = {}) {
  const entry = texts.get(language.value)?.[key];
  if (entry === undefined) return key;
  const chosen = typeof entry === "string"
    ? entry
    : entry[new Intl.PluralRules(LOCALES[language.value]).select(Number(values.count ?? 0))] ?? entry.other ?? key;
  return chosen.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? number(value) : value;
  });
}

/** @param {Words | string | null | undefined} words of the server, in the language of the page */
export const said = (words) => (typeof words === "string" ? words : words?.[language.value] ?? "");

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export const number = (value, options) => new Intl.NumberFormat(LOCALES[language.value], options).format(value);

/** @param {number} value bytes, written as kB, MB, GB */
export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = value > 0 ? Math.min(Math.floor(Math.log10(value) / 3), units.length - 1) : 0;
  const amount = value / 1000 ** step;
  return number(amount, { style: "unit", unit: units[step], unitDisplay: "short", maximumFractionDigits: amount < 10 && step ? 1 : 0 });
}

/** @param {number} seconds as 0:07, 12:34, 1:02:03 */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (!parts[0]) parts.shift();
  return parts.map((part, index) => (index ? String(part).padStart(2, "0") : part)).join(":");
}

/** @param {Intl.DateTimeFormatOptions} options */
function dateFormat(options) {
  const key = language.value + JSON.stringify(options);
  let format = dateFormats.get(key);
  if (!format) dateFormats.set(key, (format = new Intl.DateTimeFormat(LOCALES[language.value], options)));
  return format;
}

/**
 * A moment as the clock on the spot showed it: the zone of the text is not converted to the reader's.
 * @param {string | null} iso @param {"day" | "full" | "short"} [style]
 */
export function date(iso, style = "full") {
  const match = /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d))?/.exec(iso ?? "");
  if (!match) return t("date.unknown");
  const [year, month, day, hour, minute] = match.slice(1).map((part) => Number(part ?? 0));
  const clock = new Date(Date.UTC(year, month - 1, day, hour, minute));
  /** @type {Intl.DateTimeFormatOptions} */
  const options = style === "short"
    ? { year: "numeric", month: "short", day: "numeric" }
    : { year: "numeric", month: "long", day: "numeric", weekday: style === "full" ? "short" : undefined };
  if (style === "full" && match[4]) Object.assign(options, { hour: "2-digit", minute: "2-digit" });
  return dateFormat({ ...options, timeZone: "UTC" }).format(clock);
}

/** @param {string | null} months "2021-05", or from-to "2021-03/2021-05" */
export function monthName(months) {
  if (!months) return t("date.unknown");
  const [first, last] = months.split("/").map((month) => {
    const [year, number_] = month.split("-").map(Number);
    return new Date(Date.UTC(year, number_ - 1, 1));
  });
  /** @type {Intl.DateTimeFormatOptions} */
  const options = { year: "numeric", month: "long", timeZone: "UTC" };
  if (!last) return dateFormat(options).format(first);
  // What Intl makes of such a range in Chinese (2015/9 – 2015/10) nobody writes.
  return language.value === "zh"
    ? `${dateFormat(options).format(first)}至${dateFormat({ month: "numeric", timeZone: "UTC" }).format(last)}`
    : dateFormat(options).formatRange(first, last);
}

/** @param {number} seconds since 1970 @returns {string} an instant in the reader's own zone */
export const instant = (seconds) =>
  dateFormat({ dateStyle: "medium", timeStyle: "short" }).format(new Date(seconds * 1000));
