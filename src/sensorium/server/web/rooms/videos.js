import { html } from "../vendor/preact.js";
import { t } from "../lib/i18n.js";
import { PhotoGrid } from "../parts/photo-grid.js";
import { Empty } from "../parts/states.js";

/** Films. */
export default function Videos() {
  return html`<${PhotoGrid} scope="kind:video" title=${t("nav.videos")}
    empty=${html`<${Empty} icon="film" title=${t("videos.empty")} text=${t("videos.how")} />`} />`;
}
