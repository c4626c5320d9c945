// The work on one photo: what was pointed at so far, what came of it, undo and redo. Knows no screen.

import { computed, signal } from "../../vendor/preact.js";
import { api, request, saveFile } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";

/** @import { CutAnswer, CutMask, CutPrompt } from "../shared/types.js" */

/** A prompt and its answer. @typedef {{ prompt: CutPrompt, answer: CutAnswer }} Step */
/** What a click does. @typedef {"fresh" | "add" | "remove"} How */
/** One line for people. @typedef {{ text: string, error?: boolean, busy?: boolean }} Line */

/** Answers that are kept, so that a click where the pointer rests is painted at once. */
const KEPT = 40;
/** Milliseconds after which it is said that the model is being prepared. */
const LONG = 4000;

/** @type {CutPrompt} */
const NOTHING = { points: [], box: null, words: null, all: false, choice: null };

/** @param {CutPrompt} prompt @returns {boolean} is it a start, not refined by clicks? */
export const isStart = ({ points, box, words }) => points.length <= (box || words ? 0 : 1);

/** @param {Step | null} step @returns {CutMask[]} the masks that are selected by it */
export function selected(step) {
  if (!step) return [];
  const { prompt, answer } = step;
  if (!isStart(prompt)) return answer.masks.slice(0, 1);
  if (prompt.choice === null && prompt.all) return answer.masks;
  return answer.masks.slice(prompt.choice ?? answer.best ?? 0).slice(0, 1);
}

/** The work on the photo `id`. @param {number} id */
export function workOn(id) {
  const path = `/photos/${id}/cut`;
  /** Size of the upright original, once it was looked at. */
  const looked = signal(/** @type {{ width: number, height: number, editor: string | null } | null} */ (null));
  const line = signal(/** @type {Line} */ ({ text: t("cut.looking"), busy: true }));
  const steps = signal(/** @type {readonly (Step | null)[]} */ ([null]));
  const at = signal(0);
  /** What a click at the pointer would select. */
  const hover = signal(/** @type {Step | null} */ (null));
  const saving = signal(false);
  const step = computed(() => steps.value[at.value]);
  /** @type {Map<string, Promise<CutAnswer>>} */
  const answers = new Map();
  const ending = new AbortController();

  /** @param {unknown} error */
  const fail = (error) => {
    if (error instanceof DOMException && error.name === "AbortError") return;
    line.value = { text: error instanceof Error ? error.message : String(error), error: true };
  };

  /** @param {CutPrompt} prompt @returns {Promise<CutAnswer>} */
  function answerTo(prompt) {
    const key = JSON.stringify(prompt);
    const known = answers.get(key) ?? api.post(path, prompt, { signal: ending.signal });
    answers.delete(key);
    answers.set(key, known);
    known.catch(() => answers.delete(key));
    if (answers.size > KEPT) answers.delete(/** @type {string} */ (answers.keys().next().value));
    return known;
  }

  /** Understands the photo, once. */
  async function look() {
    line.value = { text: t("cut.looking"), busy: true };
    const late = setTimeout(() => { line.value = { text: t("cut.looking_long"), busy: true }; }, LONG);
    try {
      looked.value = await api.post(`${path}/embed`, undefined, { signal: ending.signal });
      if (line.peek().busy) line.value = { text: t("cut.hint") };
    } catch (error) {
      fail(error);
    } finally {
      clearTimeout(late);
    }
  }

  /** @param {Step | null} made */
  function push(made) {
    steps.value = [...steps.value.slice(0, at.value + 1), made];
    at.value = steps.value.length - 1;
    hover.value = null;
    tell();
  }

  /** Says what is selected now. */
  function tell() {
    const masks = selected(step.value);
    const whole = (looked.value?.width ?? 0) * (looked.value?.height ?? 0);
    if (!masks.length || !whole) {
      line.value = { text: t("cut.hint") };
      return;
    }
    const share = masks.reduce((sum, mask) => sum + mask.area, 0) / whole;
    const [first] = masks;
    const what = masks.length > 1 ? t("cut.things", { count: masks.length }) : first.label ?? t(`cut.${first.level ?? "thing"}`);
    line.value = { text: t("cut.selected", { what, percent: `${Math.max(1, Math.round(share * 100))} %` }) };
  }

  /** What a click at a place means now; null where there is nothing to refine. @param {number} x @param {number} y @param {How} how @returns {CutPrompt | null} */
  function promptAt(x, y, how) {
    const before = step.value?.prompt;
    if (how === "remove" && !before) return null;
    if (how === "fresh" || !before) return { ...NOTHING, points: [[x, y, 1]] };
    return { ...before, points: [...before.points, [x, y, how === "add" ? 1 : 0]] };
  }

  let queue = Promise.resolve();
  /** Asks after everything that was asked before. @param {() => CutPrompt | null} make @param {string} nothing what to say when nothing is there @param {string} [busy] */
  function ask(make, nothing, busy) {
    queue = queue.then(async () => {
      const prompt = make();
      if (!prompt) return;
      if (busy) line.value = { text: busy, busy: true };
      try {
        const answer = await answerTo(prompt);
        const made = { prompt, answer };
        if (selected(made).some((mask) => mask.area)) push(made);
        else line.value = { text: nothing, error: true };
      } catch (error) {
        fail(error);
      }
    });
    return queue;
  }

  /** @param {number} x @param {number} y @param {How} how */
  const click = (x, y, how) => ask(() => {
    const prompt = promptAt(x, y, how);
    if (!prompt) line.value = { text: t("cut.remove_first"), error: true };
    return prompt;
  }, t("cut.nothing_here"));

  /** @param {[number, number, number, number]} box */
  const around = (box) => ask(() => ({ ...NOTHING, box }), t("cut.nothing_here"));

  /** @param {string} words @param {boolean} all */
  const find = (words, all) => ask(() => ({ ...NOTHING, words, all }), t("cut.nothing_found", { words }), t("cut.searching", { words }));

  /** @type {CutPrompt | null} */
  let wanted = null;
  let previewing = false;
  /** Shows what a click would select: one request at a time, and of those that wait only the latest. @param {CutPrompt | null} prompt */
  async function preview(prompt) {
    wanted = prompt;
    if (!prompt) hover.value = null;
    if (previewing || !looked.value) return;
    previewing = true;
    while (wanted) {
      const now = wanted;
      const answer = await answerTo(now).catch(() => null); // a click at this place says what is wrong
      if (wanted !== now) continue;
      wanted = null;
      hover.value = answer && { prompt: now, answer };
    }
    previewing = false;
  }

  /** @param {number | null} choice */
  function choose(choice) {
    const now = step.value;
    if (now && isStart(now.prompt) && choice !== now.prompt.choice) push({ ...now, prompt: { ...now.prompt, choice } });
  }

  /** @param {number} by -1 undoes, 1 does again */
  function travel(by) {
    const to = at.value + by;
    if (to < 0 || to >= steps.value.length) return;
    at.value = to;
    hover.value = null;
    tell();
  }

  /** @param {(body: object) => Promise<string | void>} work may say what was done @param {boolean} cropped @param {string} done */
  async function take(work, cropped, done) {
    const now = step.value;
    if (!now || saving.value) return;
    saving.value = true;
    try {
      line.value = { text: (await work({ ...now.prompt, cropped })) || done };
    } catch (error) {
      fail(error instanceof DOMException && error.name === "NotAllowedError" ? new Error(t("cut.not_copied")) : error);
    } finally {
      saving.value = false;
    }
  }

  return {
    looked, line, step, hover, saving,
    canUndo: computed(() => at.value > 0),
    canRedo: computed(() => at.value < steps.value.length - 1),
    look, promptAt, click, around, find, preview, choose, travel,
    clear: () => { if (step.value) push(null); },
    /** @param {string} name @param {boolean} cropped */
    save: (name, cropped) => take((body) => saveFile(`${path}.png`, body, name), cropped, t("cut.saved")),
    /** @param {boolean} cropped */
    copy: (cropped) => take((body) => navigator.clipboard.write([new ClipboardItem({
      "image/png": request("POST", `${path}.png`, { body }).then((answer) => answer.blob()), // made now: browsers ask for it at the click
    })]), cropped, t("cut.copied")),
    /** Opens the cut-out in the image editor of the machine that serves. @param {boolean} cropped */
    edit: (cropped) => take(async (body) => {
      const { name, editor } = await api.post(`${path}/edit`, body);
      return t("cut.edited", { editor, name });
    }, cropped, ""),
    /** Calls off what is under way. */
    end: () => ending.abort(),
  };
}

/** @typedef {ReturnType<typeof workOn>} Work */
