// The photos of one spot of the map, in a panel beside it.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { thumbnail } from "../../lib/api.js";
import { date, t } from "../../lib/i18n.js";
import { card, cardsVersion, sequence, wantCards } from "../../lib/store.js";
import { Button } from "../../parts/button.js";

const PAGE = 60;

/**
 * @param {{title: string, ids: number[], total: number, onClose: () => void,
 *   action?: {label: string, icon: import("../../vendor/icons.js").IconName, run: () => void} | false}} properties
 */
export function SpotPhotos({ title, ids, total, onClose, action }) {
  const [shown, setShown] = useState(PAGE);
  const heading = useRef(/** @type {HTMLHeadingElement | null} */ (null));
  const end = useRef(/** @type {HTMLElement | null} */ (null));
  void cardsVersion.value;

  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    const before = sequence.peek();
    sequence.value = {
      count: () => ids.length,
      idAt: (index) => ids[index],
      indexOf: (id) => ids.indexOf(id),
      versionAt: (index) => card(ids[index])?.version ?? "",
      ratioAt(index) {
        const known = card(ids[index]);
        return known?.height ? known.width / known.height : 1.5;
      },
    };
    return () => void (sequence.value = before);
  }, [ids]);
  useEffect(() => wantCards(ids.slice(0, shown)), [ids, shown]);
  useEffect(() => {
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) setShown((now) => Math.min(ids.length, now + PAGE));
    });
    if (end.current) seen.observe(end.current);
    return () => seen.disconnect();
  }, [ids, shown]);

  const key = (/** @type {KeyboardEvent} */ event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    onClose();
  };
  return html`<aside class="spot" aria-label=${title} onKeyDown=${key}>
    <header class="spot-head">
      <h2 ref=${heading} tabindex="-1">${title}</h2>
      ${action && html`<${Button} kind="quiet" icon=${action.icon} onClick=${action.run}>${action.label}<//>`}
      <${Button} kind="quiet" icon="x" label=${t("action.close")} onClick=${onClose} />
    </header>
    <ul class="spot-photos">
      ${ids.slice(0, shown).map((id) => html`<li key=${id}><${StripPhoto} id=${id} /></li>`)}
      <li ref=${end} class="spot-end" aria-hidden="true"></li>
    </ul>
    ${total > ids.length && shown >= ids.length && html`<p class="spot-rest">${t("map.more", { count: total - ids.length })}</p>`}
  </aside>`;
}

/** @param {{id: number}} properties */
function StripPhoto({ id }) {
  const known = card(id);
  const label = known ? `${known.name}, ${date(known.taken_at, "day")}` : t("rooms.photo", { id: String(id) });
  return html`<a href="/photo/${id}"><img src=${thumbnail(id, 240, known?.version)} alt=${label} loading="lazy" decoding="async" /></a>`;
}
