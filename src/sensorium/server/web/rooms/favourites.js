import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { PhotoGrid } from "../parts/photo-grid.js";
import { Empty } from "../parts/states.js";

/** Photos with a heart. */
export default function Favourites() {
  return html`<${PhotoGrid} scope="favourites" title=${t("nav.favourites")}
    empty=${html`<${Empty} icon="heart" title=${t("favourites.empty")} text=${t("favourites.how")} />`} />`;
}
