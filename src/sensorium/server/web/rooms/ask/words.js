// The conversation itself: questions, answers with what they took, suggestions, and where one writes.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { language, number, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { Icon } from "../../parts/icon.js";
import { phrase } from "../shared/phrases.js";
import { Commands } from "../shared/note.js";

/** @import { AskShown } from "../shared/types.js" */
/** @import { Exchange, Talk } from "./talk.js" */

const SUGGESTIONS = ["what", "where", "many", "colour", "written", "describe"];

/** @param {number} seconds */
const inSeconds = (seconds) => number(seconds, { style: "unit", unit: "second", unitDisplay: "narrow", maximumFractionDigits: seconds < 10 ? 1 : 0 });

/** How the photos were shown to the model, in a few words. @param {AskShown} shown @returns {string[]} */
function planWords(shown) {
  const groups = new Map();
  for (const { policy, views, tokens, kind, frames, useful } of shown.plans) {
    const [first] = views;
    const words = t(`ask.plan_${kind === "video" ? "video" : "photo"}`, { policy: t(`ask.policy_${policy}`), tokens,
      size: `${views.length > 1 ? `${number(views.length)} × ` : ""}${first[0]} × ${first[1]}`, frames, useful: number(useful, { style: "percent" }) });
    groups.set(words, (groups.get(words) ?? 0) + 1);
  }
  return [...groups].map(([words, count]) => (count > 1 ? `${number(count)} × ${words}` : words));
}

/** Which model, plan and budget were used, and what it took. @param {{ exchange: Exchange }} properties */
function Facts({ exchange }) {
  const { shown, answer } = exchange;
  if (!shown) return null;
  const { tokens } = shown;
  const facts = [
    shown.model, ...planWords(shown),
    tokens.budget === null ? t("ask.budget_own") : t("ask.budget", { count: tokens.budget }),
    t("ask.read", { count: tokens.prompt, of: tokens.context }),
    answer && answer.reused > 0 && t("ask.reused", { count: answer.reused }),
    answer && t("ask.written", { count: answer.written }),
    answer && inSeconds(answer.seconds),
  ].filter(Boolean);
  return html`<p class="ask-facts" title=${[...shown.plans.map((plan) => plan.text), answer?.line].filter(Boolean).join("\n")}>${facts.join(" · ")}</p>
    ${shown.notes.map((note) => html`<p key=${note} class="ask-facts">${phrase(note)}</p>`)}`;
}

/** @param {{ exchange: Exchange, talk: Talk }} properties */
function Reply({ exchange, talk }) {
  const { state, text, answer } = exchange;
  const waits = state === "waiting" || state === "looking" || state === "reading";
  const boxes = answer?.boxes.length ?? 0;
  const chosen = talk.active.value?.number === exchange.number;
  return html`<div class=${`ask-reply ask-reply-${state}`}>
    ${text && html`<p class="ask-text" dir="auto">${text}${state === "writing" && html`<span class="ask-caret" aria-hidden="true"></span>`}</p>`}
    ${state === "done" && !text && html`<p class="ask-text soft">${t("ask.nothing_said")}</p>`}
    ${waits && html`<p class="ask-wait"><span class="ask-busy"><${Icon} name="loader-circle" size=${18} /></span>${t(`ask.state_${state}`)}</p>`}
    ${state === "stopped" && html`<p class="ask-wait">${t("ask.stopped")}</p>`}
    ${state === "failed" && html`<div class="ask-fault" role="alert"><${Icon} name="triangle-alert" size=${18} /><div><p>${exchange.error}</p><${Commands} line=${exchange.detail ?? null} /></div></div>`}
    ${answer?.ended === "length" && html`<p class="ask-wait">${t("ask.cut_short")}</p>`}
    ${boxes > 0 && html`<p><button type="button" class="ask-points" aria-pressed=${String(chosen)} onClick=${() => talk.choose(exchange.number)}>
      <${Icon} name="square-dashed-mouse-pointer" size=${16} />${t("ask.boxes", { count: boxes })}</button></p>`}
    <${Facts} exchange=${exchange} />
  </div>`;
}

/** @param {{ talk: Talk }} properties */
function Welcome({ talk }) {
  const model = talk.model.value;
  const names = new Intl.DisplayNames([language.value], { type: "language" });
  const tooMany = model && !model.problem && talk.ids.length > model.most_photos;
  if (model?.problem) {
    const missing = model.problem === "ask_model_missing";
    return html`<div class="ask-welcome"><${Icon} name="message-circle" size=${40} />
      <h2>${t(missing ? "ask.no_model" : "ask.no_answer")}</h2><p dir="auto">${phrase(model.detail ?? "")}</p><${Commands} line=${model.detail} /></div>`;
  }
  return html`<div class="ask-welcome"><${Icon} name="message-circle" size=${40} />
    <h2>${t("ask.welcome", { count: talk.ids.length })}</h2>
    ${model ? html`<p>${[t("ask.who", { model: model.model }), model.languages.length > 0 && t("ask.languages", { languages: model.languages.map((code) => names.of(code)).join(t("ask.comma")) }),
          t("ask.may_err")].filter(Boolean).join(language.value === "zh" ? "" : " ")}</p>
        ${!model.conversation && html`<p>${t("ask.single")}</p>`}`
      : html`<p role="status">${t("ask.opening")}</p>`}
    ${tooMany && html`<p class="ask-fault" role="alert"><${Icon} name="triangle-alert" size=${18} />
      <span>${t("ask.too_many", { count: talk.ids.length, most: model.most_photos })}</span></p>`}
  </div>`;
}

/** What was said; new words stay in sight. @param {{ talk: Talk }} properties */
export function Words({ talk }) {
  const list = useRef(/** @type {HTMLDivElement | null} */ (null));
  const follow = useRef(true);
  const exchanges = talk.exchanges.value;
  useEffect(() => { follow.current = true; }, [exchanges.length]);
  useEffect(() => {
    if (list.current && follow.current) list.current.scrollTop = list.current.scrollHeight;
  }, [exchanges]);
  const last = exchanges.at(-1);
  const said = last && (last.state === "done" ? last.text : last.state === "failed" || last.state === "stopped" ? "" : t(`ask.state_${last.state}`));
  return html`<div ref=${list} class="ask-words" tabindex="0" role="region" aria-label=${t("ask.words")}
      onScroll=${() => { const one = list.current; if (one) follow.current = one.scrollHeight - one.scrollTop - one.clientHeight < 40; }}>
    ${!exchanges.length && html`<${Welcome} talk=${talk} />`}
    ${exchanges.map((exchange) => html`<article key=${exchange.number} class="ask-exchange">
      <p class="ask-question" dir="auto">${exchange.question}</p><${Reply} exchange=${exchange} talk=${talk} /></article>`)}
    <p class="hidden-visually" role="status">${said ?? ""}</p>
  </div>`;
}

/** Questions to begin with, and the field. @param {{ talk: Talk }} properties */
export function Composer({ talk }) {
  const [text, setText] = useState("");
  const field = useRef(/** @type {HTMLTextAreaElement | null} */ (null));
  const most = talk.model.value?.most_letters ?? 4000;
  const over = [...text].length - most;
  const problem = talk.model.value?.problem;
  const busy = talk.busy.value;
  const blocked = Boolean(problem) || (talk.model.value !== null && talk.ids.length > talk.model.value.most_photos);
  useEffect(() => {
    const one = field.current;
    if (!one) return;
    one.style.height = "auto";
    one.style.height = `${Math.min(one.scrollHeight + 2, 180)}px`;
  }, [text]);
  useEffect(() => { if (matchMedia("(hover: hover)").matches) field.current?.focus(); }, []);
  const send = (/** @type {string} */ question) => {
    if (busy || blocked || !question.trim() || [...question].length > most) return;
    setText("");
    void talk.ask(question);
    field.current?.focus();
  };
  /** @param {KeyboardEvent} event */
  const keys = (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: an input method chooses characters
    event.preventDefault();
    send(text);
  };
  return html`<form class="ask-composer" onSubmit=${(/** @type {Event} */ event) => { event.preventDefault(); send(text); }}>
    ${!busy && !blocked && html`<div class="ask-chips" role="group" aria-label=${t("ask.suggestions")}>
      ${SUGGESTIONS.map((name) => html`<button key=${name} type="button" class="ask-chip" onClick=${() => {
        const question = t(`ask.try_${name}`);
        if (question.includes("…")) {
          setText(question);
          requestAnimationFrame(() => { const at = question.indexOf("…"); field.current?.focus(); field.current?.setSelectionRange(at, at + 1); });
        } else send(question);
      }}>${t(`ask.try_${name}`)}</button>`)}</div>`}
    ${over > 0 && html`<p class="ask-over" role="alert">${t("ask.too_long", { count: over, most })}</p>`}
    <div class="ask-field">
      <textarea ref=${field} rows="1" aria-label=${t("ask.question")} placeholder=${t("ask.placeholder")} enterkeyhint="send" dir="auto" disabled=${blocked}
        value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} onKeyDown=${keys}></textarea>
      ${busy ? html`<${Button} icon="square" filled kind="primary" label=${t("ask.stop")} onClick=${talk.stop} />`
        : html`<${Button} type="submit" icon="arrow-up" kind="primary" label=${t("ask.send")} disabled=${blocked || !text.trim() || over > 0} />`}
    </div>
  </form>`;
}
