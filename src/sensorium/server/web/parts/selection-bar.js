import { html, useState } from "../vendor/preact.js";
import { may, saveFile } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { askAddress, navigate } from "../lib/router.js";
import { card, cardsVersion, mark, selection } from "../lib/store.js";
import { chooseAlbum } from "./album-dialog.js";
import { Button } from "./button.js";
import { Menu } from "./menu.js";
import { toast, toastError } from "./toast.js";

/** @import { MenuItem } from "./menu.js" */

/** Photos that one conversation may show. */
const MOST_ASKED = 16;

const clear = () => void (selection.value = new Set());

/** Hides photos, or shows them again, with a way back. @param {number[]} ids @param {boolean} hidden */
export async function hide(ids, hidden) {
  await mark(ids, { hidden });
  toast(t(hidden ? "done.hidden" : "done.shown", { count: ids.length }), {
    action: { label: t("action.undo"), run: () => mark(ids, { hidden: !hidden }).catch(toastError) },
  });
}

/** @param {number[]} ids @param {boolean} withoutLocation */
const exportZip = (ids, withoutLocation) => saveFile("/export", { ids, without_location: withoutLocation }, "photos.zip");

/** @param {number[]} ids */
async function share(ids) {
  const { openShare } = await import("../rooms/shared/share-dialog.js");
  openShare(ids);
}

/**
 * What can be done with the selected photos; there only while something is selected.
 * @param {{ actions?: (ids: number[]) => MenuItem[] }} properties more of it, by the room
 */
export function SelectionBar({ actions }) {
  const [busy, setBusy] = useState("");
  void cardsVersion.value;
  const ids = [...selection.value];
  if (!ids.length) return html`<p class="hidden-visually" role="status"></p>`;
  const favourite = ids.every((id) => card(id)?.favourite);
  const hidden = ids.every((id) => card(id)?.hidden);
  /** @param {string} name @param {() => Promise<unknown>} work called off when it gives false @param {boolean} [keep] the selection stays */
  const run = (name, work, keep = false) => async () => {
    setBusy(name);
    try {
      if ((await work()) !== false && !keep) clear();
    } catch (error) {
      toastError(error);
    } finally {
      setBusy("");
    }
  };
  const edit = may("edit");
  return html`<div class="selection-bar" role="toolbar" aria-label=${t("selection.toolbar")}
      onKeyDown=${(/** @type {KeyboardEvent} */ event) => { if (event.key === "Escape") clear(); }}>
    <${Button} icon="x" kind="quiet" label=${t("selection.clear")} onClick=${clear} />
    <strong role="status">${t("selection.count", { count: ids.length })}</strong>
    <div class="selection-actions">
      ${ids.length <= MOST_ASKED && html`<${Button} icon="message-circle" kind="quiet" label=${t("action.ask")}
        onClick=${() => navigate(askAddress(ids))} />`}
      ${edit && html`
        <${Button} icon="heart" kind="quiet" filled=${favourite} busy=${busy === "favourite"} label=${t(favourite ? "action.unfavourite" : "action.favourite")}
          onClick=${run("favourite", () => mark(ids, { favourite: !favourite }), true)} />
        <${Button} icon=${hidden ? "eye" : "eye-off"} kind="quiet" busy=${busy === "hide"} label=${t(hidden ? "action.show" : "action.hide")}
          onClick=${run("hide", () => hide(ids, !hidden))} />
        <${Button} icon="circle-plus" kind="quiet" busy=${busy === "album"} label=${t("action.add_to_album")}
          onClick=${run("album", () => chooseAlbum(ids))} />
        <${Button} icon="share-2" kind="quiet" label=${t("action.share")} onClick=${run("share", () => share(ids), true)} />
        <${Menu} icon=${busy === "export" ? "loader-circle" : "download"} label=${t("action.export")} items=${[
          { label: t("export.originals"), icon: "download", run: run("export", () => exportZip(ids, false), true) },
          { label: t("export.without_location"), icon: "shield-check", run: run("export", () => exportZip(ids, true), true) },
        ]} />`}
      ${actions && html`<${Menu} icon="ellipsis" label=${t("action.more")} items=${actions(ids)} />`}
    </div>
  </div>`;
}
