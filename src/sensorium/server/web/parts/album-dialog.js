import { html, signal, useEffect, useState } from "../vendor/preact.js";
import { api } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { useLoad } from "../lib/load.js";
import { generation } from "../lib/store.js";
import { Button } from "./button.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";
import { Failed, Loading } from "./states.js";
import { toast, toastError } from "./toast.js";

/** @import { Album } from "../lib/types.js" */

const asked = signal(/** @type {{ ids: number[], done: (added: boolean) => void } | null} */ (null));

/**
 * Asks which album photos go to, or for the name of a new one, and adds them.
 * @param {number[]} ids
 * @returns {Promise<boolean>} false when it was called off
 */
export const chooseAlbum = (ids) => new Promise((resolve) => {
  asked.value = { ids, done: (added) => { asked.value = null; resolve(added); } };
});

/** The dialog of `chooseAlbum`. Part of the shell. */
export function AlbumChoice() {
  return asked.value && html`<${Choice} ids=${asked.value.ids} done=${asked.value.done} />`;
}

/** @param {{ ids: number[], done: (added: boolean) => void }} properties */
function Choice({ ids, done }) {
  const [name, setName] = useState("");
  const [busy, setBusy] = useState(false);
  const loaded = useLoad((signal) => api.get("/albums", { signal }), []);
  useEffect(() => { if (loaded.error) toastError(loaded.error); }, [loaded.error]);
  /** @param {() => Promise<Album>} choose */
  const add = async (choose) => {
    setBusy(true);
    try {
      const album = await choose();
      await api.post(`/albums/${album.id}/photos`, { ids });
      generation.value++;
      toast(t("done.added", { count: ids.length, album: album.name }));
      done(true);
    } catch (error) {
      toastError(error);
      setBusy(false);
    }
  };
  /** @param {Event} event */
  const create = (event) => {
    event.preventDefault();
    if (name.trim()) void add(() => api.post("/albums", { name: name.trim() }));
  };
  /** @type {Album[]} */
  const albums = loaded.data?.albums ?? [];
  return html`<${Dialog} title=${t("album.choose", { count: ids.length })} onClose=${() => done(false)}>
    <form class="row nowrap" onSubmit=${create}>
      <input class="input" aria-label=${t("album.new_name")} placeholder=${t("album.new_name")} value=${name} autofocus maxlength="200"
        onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} />
      <${Button} type="submit" kind="primary" icon="plus" busy=${busy} disabled=${!name.trim()}>${t("album.create")}<//>
    </form>
    ${loaded.loading && html`<${Loading} />`}
    ${loaded.error && html`<${Failed} error=${loaded.error} retry=${loaded.reload} />`}
    <ul class="choice-list">${albums.map((album) => html`<li key=${album.id}>
      <button type="button" class="choice" disabled=${busy} onClick=${() => add(async () => album)}>
        <${Icon} name="album" /><span>${album.name}</span></button></li>`)}</ul>
  <//>`;
}
