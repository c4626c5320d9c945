// Asking about photos, over the room that it was opened from. The address is /photo/ID/ask, with more photos
// in its `with`.

import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { askPhotos, closeAsk } from "../lib/router.js";
import { card, cardsVersion, wantCards } from "../lib/store.js";
import { Button } from "../parts/button.js";
import { LooksSwitch, Stage } from "./ask/stage.js";
import { talkAbout } from "./ask/talk.js";
import { Composer, Words } from "./ask/words.js";

/** Drawn by the shell while the address is that of asking. @param {{ id: number }} properties */
export default function Ask({ id }) {
  const ids = useMemo(() => askPhotos.peek(), [id]);
  const talk = useMemo(() => talkAbout(ids), [ids]);
  const [shownId, show] = useState(id);
  void cardsVersion.value;
  const leave = () => closeAsk(id);
  const pointed = talk.active.value?.answer?.photo ?? null;

  useEffect(() => {
    wantCards(ids);
    void talk.open();
    return talk.end;
  }, [talk]);
  useEffect(() => { if (pointed !== null && talk.active.peek()?.answer?.boxes.length) show(pointed); }, [pointed, talk.active.value?.number]);
  useEffect(() => {
    const keys = (/** @type {KeyboardEvent} */ event) => {
      if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      if (talk.busy.peek()) talk.stop();
      else leave();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, [talk]);

  const title = ids.length > 1 ? t("ask.title_many", { count: ids.length }) : t("ask.title");
  return html`<div class="ask" role="dialog" aria-modal="true" aria-label=${title}>
    <header class="ask-top">
      <${Button} icon="arrow-left" kind="quiet" label=${t("ask.leave")} onClick=${leave} />
      <h1 class="ask-title">${title}</h1>
      <p class="ask-name">${card(shownId)?.name ?? ""}</p>
      <div class="ask-actions"><${LooksSwitch} talk=${talk} />
        <${Button} icon="square-pen" kind="quiet" label=${t("ask.anew")} disabled=${!talk.exchanges.value.length} onClick=${talk.anew} /></div>
    </header>
    <${Stage} talk=${talk} shownId=${shownId} show=${show} />
    <section class="ask-talk" aria-label=${t("ask.conversation")}><${Words} talk=${talk} /><${Composer} talk=${talk} /></section>
  </div>`;
}
