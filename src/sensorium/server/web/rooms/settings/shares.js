// The links that were given to others.

import { html } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { date, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { ask } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { toast } from "../../parts/toast.js";
import { attempt, pending, useLive } from "../shared/live.js";
import { Section } from "../shared/section.js";

/** @import { Share } from "../shared/types.js" */

/** @param {Share} share */
const called = (share) => share.name || t("shares.unnamed");

/** @param {{ share: Share, changed: () => void }} properties */
function Entry({ share, changed }) {
  const end = async () => {
    const sure = await ask({ title: t("shares.end_title", { name: called(share) }), text: t("shares.end_text"), action: t("shares.end"), danger: true });
    if (sure === null || !await attempt(() => api.del(`/shares/${share.id}`))) return;
    toast(t("shares.ended", { name: called(share) }));
    changed();
  };
  return html`<li class="entry"><${Icon} name=${share.expired ? "unlink" : "link"} />
    <div class="entry-words"><span class="entry-name">${called(share)}</span>
      <span class="entry-more">${t("rooms.photos", { count: share.photos })} · ${t(share.expired ? "shares.over" : "shares.until", { date: date(share.expires_at, "short") })}</span></div>
    <${Button} kind="quiet" icon=${share.expired ? "trash-2" : "unlink"} label=${t("shares.end_one", { name: called(share) })} onClick=${end} /></li>`;
}

/** The part of the settings. */
export function Shares() {
  const shares = useLive((signal) => /** @type {Promise<{ shares: Share[] }>} */ (api.get("/shares", { signal })));
  const all = shares.data?.shares ?? [];
  return html`<${Section} id="shares" title=${t("shares.title")} text=${t("shares.text")}>
    ${pending(shares) ?? (all.length ? html`<ul class="entries">${all.map((share) => html`<${Entry} key=${share.id} share=${share} changed=${shares.reload} />`)}</ul>`
      : html`<p class="room-text">${t("shares.none")}</p>`)}<//>`;
}
