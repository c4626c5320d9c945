// A conversation about photos: what was asked, what is being written, what was answered. Knows no screen.

import { computed, signal } from "../../vendor/preact.js";
import { api, ApiError } from "../../lib/api.js";
import { has, t } from "../../lib/i18n.js";
import { phrase } from "../shared/phrases.js";
import { stream } from "./stream.js";

/** @import { AskAnswer, AskLook, AskModel, AskShown } from "../shared/types.js" */

/**
 * A question and what came of it.
 * @typedef {object} Exchange
 * @property {number} number
 * @property {string} question
 * @property {readonly number[]} photos that are shown with it
 * @property {string} text of the answer, as far as it is written
 * @property {"waiting" | "looking" | "reading" | "writing" | "done" | "stopped" | "failed"} state
 * @property {AskShown | null} shown
 * @property {AskAnswer | null} answer
 * @property {string} [code] of what went wrong
 * @property {string} [error] one line: what went wrong
 * @property {string} [detail] the server's own line
 * @property {readonly AskLook[] | null} looks where it looked; null when nobody asked
 */

const KEY = "sensorium.looks";

/** @param {{ code?: string, detail?: string, status?: number }} problem @returns {string} */
const sentence = ({ code, detail, status }) => (has(`error.${code}`)
  ? t(`error.${code}`, { detail: phrase(detail ?? "") }) : phrase(detail ?? "") || t("error.unknown", { status: status ?? 0 }));

/** The conversation about photos. @param {readonly number[]} ids */
export function talkAbout(ids) {
  const model = signal(/** @type {AskModel | null} */ (null));
  const exchanges = signal(/** @type {readonly Exchange[]} */ ([]));
  /** Number of the exchange whose boxes and maps are drawn. */
  const chosen = signal(0);
  /** Should it be shown where the model looked? */
  const looking = signal(localStorage.getItem(KEY) === "yes");
  const fetching = signal(false);
  /** @type {AbortController | null} */
  let writing = null;
  /** @type {AbortController | null} */
  let explaining = null;
  const busy = computed(() => ["waiting", "looking", "reading", "writing"].includes(exchanges.value.at(-1)?.state ?? ""));
  const active = computed(() => exchanges.value.find((one) => one.number === chosen.value) ?? null);

  /** @param {number} number @param {Partial<Exchange>} changes */
  const change = (number, changes) => {
    exchanges.value = exchanges.value.map((one) => (one.number === number ? { ...one, ...changes } : one));
  };

  /** What the server is told for the answer to `exchange`. @param {Exchange} exchange @param {boolean} explain */
  function told(exchange, explain) {
    const before = model.value?.conversation === false ? []
      : exchanges.value.filter((one) => one.number < exchange.number && one.state === "done" && one.text.trim());
    const turns = before.flatMap((one) => [
      { role: "user", text: one.question, photos: [] }, { role: "assistant", text: one.text, photos: [] }]);
    turns.push({ role: "user", text: exchange.question, photos: [] });
    // Photos are shown with the first question that is told of.
    turns[0] = { ...turns[0], photos: /** @type {any} */ ([...exchange.photos]) };
    return { turns, explain };
  }

  async function open() {
    try {
      model.value = await api.get("/ask");
    } catch (error) {
      const problem = error instanceof ApiError ? error.code : "unknown";
      model.value = { model: "", problem, detail: error instanceof Error ? error.message : String(error), languages: [], most_photos: 1, most_letters: 4000, conversation: true };
    }
  }

  /** @param {string} question */
  async function ask(question) {
    if (busy.value || !question.trim()) return;
    const number = (exchanges.value.at(-1)?.number ?? 0) + 1;
    /** @type {Exchange} */
    const exchange = { number, question: question.trim(), photos: ids, text: "", state: "waiting", shown: null, answer: null, looks: null };
    const explain = looking.value;
    const body = told(exchange, explain);
    exchanges.value = [...exchanges.value, exchange];
    chosen.value = number;
    writing = new AbortController();
    let text = "";
    try {
      for await (const { kind, data } of stream("/ask", body, writing.signal)) {
        if (kind === "state") change(number, { state: data.state });
        else if (kind === "shown") change(number, { shown: data });
        else if (kind === "piece") change(number, { state: "writing", text: (text += data.text) });
        else if (kind === "answer") change(number, { state: "done", text: data.text, answer: data, looks: explain ? data.looks : null });
        else if (kind === "problem") change(number, { state: "failed", code: data.code, error: sentence(data), detail: data.detail });
      }
      const ended = exchanges.peek().find((one) => one.number === number)?.state;
      if (ended !== "done" && ended !== "failed") change(number, { state: "failed", error: t("error.network") });
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") change(number, { state: "stopped" });
      else change(number, { state: "failed", code: error instanceof ApiError ? error.code : "unknown", error: error instanceof ApiError ? sentence(error) : String(error) });
    } finally {
      writing = null;
    }
    if (looking.value) void explain_();
  }

  /** Asks where it looked, for an answer that was given without: the same question again, quietly. */
  async function explain_() {
    const exchange = active.value;
    if (!exchange || exchange.state !== "done" || exchange.looks || fetching.value) return;
    explaining = new AbortController();
    fetching.value = true;
    try {
      for await (const { kind, data } of stream("/ask", told(exchange, true), explaining.signal)) {
        if (kind === "answer") change(exchange.number, { looks: data.looks, answer: { ...data, text: exchange.text } });
        if (kind === "problem") change(exchange.number, { looks: [] });
      }
    } catch {
      change(exchange.number, { looks: [] }); // shown as: nothing to show
    } finally {
      fetching.value = false;
    }
  }

  return {
    ids, model, exchanges, active, busy, looking, fetching, open, ask,
    /** @param {number} number */
    choose: (number) => {
      chosen.value = number;
      if (looking.value) void explain_();
    },
    toggleLooks: () => {
      looking.value = !looking.value;
      localStorage.setItem(KEY, looking.value ? "yes" : "no");
      if (looking.value) void explain_();
    },
    stop: () => writing?.abort(),
    anew: () => {
      writing?.abort();
      explaining?.abort();
      exchanges.value = [];
    },
    /** Calls off what is under way. */
    end: () => { writing?.abort(); explaining?.abort(); },
  };
}

/** @typedef {ReturnType<typeof talkAbout>} Talk */
