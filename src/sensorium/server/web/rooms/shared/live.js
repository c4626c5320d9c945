// What rooms load stays true: it is loaded again when the library changes or work on it ends.

import { html, signal } from "../../vendor/preact.js";
import { on } from "../../lib/events.js";
import { said as inLanguage } from "../../lib/i18n.js";
import { useLoad } from "../../lib/load.js";
import { generation } from "../../lib/store.js";
import { Failed, Loading } from "../../parts/states.js";
import { toastError } from "../../parts/toast.js";
import { phrase } from "./phrases.js";

/** @import { Loaded } from "../../lib/load.js" */
/** @import { Words } from "./types.js" */

/** Grows when a job ended. */
const ended = signal(0);
on("job", (job) => {
  if (job.state !== "running") ended.value++;
});
on("hello", () => void ended.value++);
on("roots", () => void ended.value++); // a disk went away or came back

/**
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {readonly unknown[]} [depends]
 */
export const useLive = (load, depends = []) => useLoad(load, [...depends, generation.value, ended.value]);

/** What to show while something is not there; null once it is. @param {Loaded<any>} loaded */
export function pending(loaded) {
  if (loaded.data !== null) return null;
  return loaded.error ? html`<${Failed} error=${loaded.error} retry=${loaded.reload} />` : html`<${Loading} />`;
}

/**
 * Does something; what goes wrong is shown.
 * @param {() => Promise<unknown>} work
 * @returns {Promise<boolean>} whether it went well
 */
export async function attempt(work) {
  try {
    await work();
    return true;
  } catch (error) {
    toastError(error);
    return false;
  }
}

/** The words of the server in the language of the page. @param {Words | null} words */
export const said = (words) => phrase(inLanguage(words));
