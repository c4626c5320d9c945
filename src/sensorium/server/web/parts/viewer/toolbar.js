import { html } from "../../vendor/preact.js";
import { may, media } from "../../lib/api.js";
import { date, said, t } from "../../lib/i18n.js";
import { addTerm } from "../../lib/picture-search.js";
import { askAddress, navigate, route } from "../../lib/router.js";
import { card, mark } from "../../lib/store.js";
import { chooseAlbum } from "../album-dialog.js";
import { Button } from "../button.js";
import { Menu } from "../menu.js";
import { hide } from "../selection-bar.js";
import { toastError } from "../toast.js";


/**
 * The bar over a photo.
 * @param {{ stage: ReturnType<typeof import("./stage.js").openStage>, id: number, version: string, index: number, count: number, panel: boolean,
 *   togglePanel: () => void }} properties
 */
export function Toolbar({ stage, id, panel, togglePanel }) {
  const known = card(id);
  const edit = may("edit");
  const searching = route.value.parts[0] === "search";
  const favourite = known?.favourite ?? false;
  const hidden = known?.hidden ?? false;
  /** @param {() => Promise<unknown>} work */
  const run = (work) => () => void work().catch(toastError);
  const zoomed = () => stage.toggleZoom();
  return html`<div class="viewer-bar">
    <${Button} icon="arrow-left" kind="quiet" label=${t("action.close")} onClick=${() => stage.close()} class="viewer-close" />
    <p class="viewer-title">${known && html`<strong>${date(known.taken_at, "day")}</strong><span>${said(known.place)}</span>`}</p>
    <div class="viewer-actions" role="toolbar" aria-label=${t("selection.toolbar")}>
      ${known?.kind !== "video" && html`<${Button} icon="zoom-in" kind="quiet" class="wide-only" label=${t("viewer.zoom_in")} onClick=${zoomed} />`}
      ${known && known.kind !== "video" && !known.offline && html`<${Button} icon="scissors" kind="quiet" label=${t("viewer.cut")} onClick=${() => navigate(`/photo/${id}/cut`)} />`}
      ${known && !known.offline && html`<${Button} icon="message-circle" kind="quiet" label=${t("viewer.ask")} onClick=${() => navigate(askAddress([id]))} />`}
      ${edit && html`<${Button} icon="heart" kind="quiet" filled=${favourite} pressed=${favourite} label=${t(favourite ? "action.unfavourite" : "action.favourite")}
        onClick=${run(() => mark([id], { favourite: !favourite }))} />`}
      <${Button} icon="info" kind="quiet" label=${t("viewer.info")} pressed=${panel} onClick=${togglePanel} />
      <${Menu} icon="ellipsis-vertical" label=${t("action.more")} items=${[
        { label: t("action.more_like_this"), icon: "scan-search", run: () => addTerm({ photo_id: id, weight: 1 }) },
        searching && { label: t("action.less_like_this"), icon: "minus", run: () => addTerm({ photo_id: id, weight: -1 }) },
        edit && { label: t("action.add_to_album"), icon: "circle-plus", run: run(() => chooseAlbum([id])) },
        edit && { label: t(hidden ? "action.show" : "action.hide"), icon: hidden ? "eye" : "eye-off", run: run(() => hide([id], !hidden)) },
        !known?.offline && { label: t("action.download"), icon: "download", run: () => download(id) },
      ]} />
    </div>
  </div>`;
}

/** @param {number} id */
function download(id) {
  const link = document.createElement("a");
  link.href = media(id, true);
  link.download = "";
  link.click();
}
