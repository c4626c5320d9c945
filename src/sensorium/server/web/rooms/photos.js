import { html } from "../vendor/preact.js";
import { may } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { Button } from "../parts/button.js";
import { PhotoGrid } from "../parts/photo-grid.js";
import { Empty } from "../parts/states.js";

/** Every photo of the library, newest first. */
export default function Photos() {
  return html`<${PhotoGrid} scope="all" title=${t("nav.photos")} hideTitle
    empty=${html`<${Empty} icon="images" title=${t("photos.empty")} text=${t("photos.how")}>
      ${may("admin") && html`<${Button} kind="primary" icon="folder-plus" href="/settings">${t("photos.add_folder")}<//>`}
    <//>`} />`;
}
