// The space that the library takes on its disk, by what it is for. Photos are not in it: they stay where they are.

import { html } from "../../vendor/preact.js";
import { bytes, has, number, t } from "../../lib/i18n.js";
import { api, may } from "../../lib/api.js";
import { Button } from "../../parts/button.js";
import { toast } from "../../parts/toast.js";
import { attempt } from "../shared/live.js";
import { Section } from "../shared/section.js";

/** @import { Status } from "../shared/types.js" */

/** @param {{ status: Status, changed: () => void }} properties */
export function Space({ status, changed }) {
  const clear = () => attempt(async () => {
    const freed = await api.del("/thumbnails");
    toast(t("space.freed", { size: bytes(freed.bytes) }));
    changed();
  });
  const parts = Object.entries(status.bytes).filter(([, size]) => size > 0).toSorted(([, one], [, other]) => other - one);
  const total = parts.reduce((sum, [, size]) => sum + size, 0);
  return html`<${Section} id="space" title=${t("space.title")} text=${t("space.text", { folder: status.library ?? "" })}>
    <div class="space-bar" aria-hidden="true">${parts.map(([part, size], index) =>
      html`<span key=${part} class=${`space-part space-${index % 6}`} style=${{ flexGrow: size }}></span>`)}</div>
    <table class="space"><caption class="hidden-visually">${t("space.title")}</caption>
      <thead class="hidden-visually"><tr><th scope="col">${t("space.part")}</th><th scope="col">${t("space.size")}</th><th scope="col">%</th></tr></thead>
      <tbody>${parts.map(([part, size], index) => html`<tr key=${part}>
        <th scope="row"><span class=${`space-dot space-${index % 6}`} aria-hidden="true"></span>${has(`space.${part}`) ? t(`space.${part}`) : part}</th>
        <td>${bytes(size)}</td><td class="soft">${number(size / total, { style: "percent" })}</td></tr>`)}
        <tr class="space-total"><th scope="row">${t("space.total")}</th><td>${bytes(total)}</td><td></td></tr></tbody></table>
    ${may("admin") && status.bytes.thumbnails > 0 && html`<p class="room-actions"><${Button} icon="trash-2" onClick=${clear}>${t("space.clear")}<//>
      <span class="room-text small">${t("space.clear_text")}</span></p>`}
  <//>`;
}
