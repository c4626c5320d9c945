// Which folders the library takes its photos from, and whether it watches them.

import { html, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { generation } from "../../lib/store.js";
import { Button } from "../../parts/button.js";
import { ask } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { Empty } from "../../parts/states.js";
import { toast } from "../../parts/toast.js";
import { isBusy, keep, start } from "../shared/jobs.js";
import { attempt, pending, said, useLive } from "../shared/live.js";
import { Section } from "../shared/section.js";

/** @import { RootEntry } from "../shared/types.js" */

/** @param {RootEntry} root */
async function remove(root) {
  const sure = await ask({ title: t("folders.remove_title"), text: t("folders.remove_text", { path: root.path, count: root.photos }),
    action: t("folders.remove"), danger: true });
  if (sure === null || !await attempt(() => api.del(`/roots/${root.id}`))) return;
  toast(t("folders.removed"));
  generation.value++;
}

/** @param {{ root: RootEntry }} properties */
const Folder = ({ root }) => html`<li class="entry">
  <${Icon} name=${root.offline ? "unplug" : "folder"} />
  <div class="entry-words"><span class="entry-name entry-path">${root.path}</span>
    <span class="entry-more">${t("rooms.photos", { count: root.photos })}${root.offline
      ? html` · <a class="warning" href="/health">${t("folders.offline")}: ${said(root.offline)}</a>` : ""}</span></div>
  <${Button} kind="quiet" icon="folder-minus" label=${t("folders.remove_one", { path: root.path })} onClick=${() => remove(root)} />
</li>`;

function AddFolder() {
  const [path, setPath] = useState("");
  const [fault, setFault] = useState("");
  /** @param {Event} event */
  const add = async (event) => {
    event.preventDefault();
    try {
      keep(await api.post("/roots", { path: path.trim() }));
    } catch (error) {
      setFault(error instanceof Error ? error.message : String(error));
      return;
    }
    setFault("");
    setPath("");
    generation.value++;
  };
  return html`<form class="form-row" onSubmit=${add}>
    <label class="field"><span>${t("folders.path")}</span>
      <input class="input" value=${path} placeholder=${t("folders.example")} spellcheck="false" autocapitalize="off" required
        aria-invalid=${fault ? "true" : undefined} aria-describedby=${fault ? "folder-fault" : undefined}
        onInput=${(/** @type {any} */ event) => setPath(event.currentTarget.value)} /></label>
    <${Button} type="submit" kind="primary" icon="folder-plus" disabled=${!path.trim()}>${t("folders.add")}<//>
    ${fault && html`<p id="folder-fault" class="field-fault" role="alert">${fault}</p>`}
  </form>`;
}

function Watching() {
  const settings = useLive((signal) => api.get("/settings", { signal }));
  if (!settings.data) return null;
  const change = () => attempt(() => api.patch("/settings", { watch: !settings.data.watch })).then(settings.reload);
  return html`<label class="tick-line"><input type="checkbox" role="switch" checked=${Boolean(settings.data.watch)} onChange=${change} />
    <span>${t("folders.watch")}</span></label>`;
}

/** The part of the settings. */
export function Folders() {
  const roots = useLive((signal) => /** @type {Promise<{ roots: RootEntry[] }>} */ (api.get("/roots", { signal })));
  const all = roots.data?.roots ?? [];
  const scan = all.length > 0 && html`<${Button} icon="refresh-cw" busy=${isBusy("index")} onClick=${() => start("index")}>${t("folders.scan")}<//>`;
  return html`<${Section} id="folders" title=${t("folders.title")} text=${t("folders.text")} actions=${scan}>
    ${pending(roots) ?? (all.length ? html`<ul class="entries">${all.map((root) => html`<${Folder} key=${root.id} root=${root} />`)}</ul>`
      : html`<${Empty} icon="folder-plus" title=${t("folders.empty")} text=${t("folders.how")} />`)}
    <${AddFolder} /><${Watching} /><//>`;
}
