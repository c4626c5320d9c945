import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { PhotoGrid } from "../parts/photo-grid.js";
import { Empty } from "../parts/states.js";

/** Photos that were hidden: they appear here and nowhere else. */
export default function Hidden() {
  return html`<${PhotoGrid} scope="hidden" title=${t("nav.hidden")}
    empty=${html`<${Empty} icon="eye-off" title=${t("hidden.empty")} text=${t("hidden.how")} />`} />`;
}
