// Albums: photos gathered by hand. A photo may be in many; none is copied, and none goes with its album.

import { html, useState } from "../vendor/preact.js";
import { api, may, thumbnail } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { navigate } from "../lib/router.js";
import { generation } from "../lib/store.js";
import { Button } from "../parts/button.js";
import { ask } from "../parts/dialog.js";
import { Icon } from "../parts/icon.js";
import { Menu } from "../parts/menu.js";
import { PhotoGrid } from "../parts/photo-grid.js";
import { Empty } from "../parts/states.js";
import { toast } from "../parts/toast.js";
import { attempt, pending, useLive } from "./shared/live.js";
import { openShare } from "./shared/share-dialog.js";

/** @import { AlbumEntry } from "./shared/types.js" */
/** @import { IconName } from "../vendor/icons.js" */

/** @param {AlbumEntry} album */
async function rename(album) {
  const name = await ask({ title: t("albums.rename"), action: t("rooms.save"), input: { label: t("albums.name"), value: album.name, required: true } });
  if (name && name !== album.name && await attempt(() => api.patch(`/albums/${album.id}`, { name }))) generation.value++;
}

/** @param {AlbumEntry} album */
async function remove(album) {
  const sure = await ask({ title: t("albums.delete_title", { name: album.name }), text: t("albums.delete_text", { count: album.photos }),
    action: t("albums.delete"), danger: true });
  if (sure === null || !await attempt(() => api.del(`/albums/${album.id}`))) return;
  toast(t("albums.deleted", { name: album.name }));
  navigate("/albums", { replace: true });
  generation.value++;
}

/** @param {AlbumEntry} album */
const commands = (album) => [
  { label: t("albums.rename"), icon: /** @type {IconName} */ ("pencil"), run: () => rename(album) },
  album.photos > 0 && { label: t("albums.share"), icon: /** @type {IconName} */ ("share-2"), run: () => openShare({ album_id: album.id, name: album.name }) },
  { label: t("albums.delete"), icon: /** @type {IconName} */ ("trash-2"), danger: true, run: () => remove(album) },
];

async function create() {
  const name = await ask({ title: t("albums.new"), action: t("albums.create"), input: { label: t("albums.name"), required: true } });
  if (!name) return;
  await attempt(async () => {
    const made = await api.post("/albums", { name });
    generation.value++;
    navigate(`/albums/${made.id}`);
  });
}

/** @param {{ album: AlbumEntry }} properties */
function AlbumCard({ album }) {
  const [broken, setBroken] = useState(false);
  return html`<li class="album">
    <a class="album-link" href="/albums/${album.id}" aria-label=${t("albums.of", { name: album.name, count: album.photos })}>
      ${album.cover === null || broken ? html`<span class="album-cover"><${Icon} name="album" size=${40} /></span>`
        : html`<img class="album-cover" src=${thumbnail(album.cover, 240)} alt="" loading="lazy" decoding="async" onError=${() => setBroken(true)} />`}</a>
    <div class="album-words"><span class="album-name">${album.name}</span>
      <span class="album-count" aria-hidden="true">${t("rooms.photos", { count: album.photos })}</span></div>
    ${may("edit") && html`<${Menu} label=${t("albums.more", { name: album.name })} icon="ellipsis-vertical" items=${commands(album)} />`}
  </li>`;
}

/** @param {{ albums: readonly AlbumEntry[] }} properties */
function Shelf({ albums }) {
  const button = may("edit") && html`<${Button} kind="primary" icon="plus" onClick=${create}>${t("albums.new")}<//>`;
  return html`<div class="room">
    <header class="room-head"><h1 class="room-title">${t("nav.albums")}</h1>${albums.length > 0 && button}</header>
    ${albums.length ? html`<ul class="albums">${albums.map((album) => html`<${AlbumCard} key=${album.id} album=${album} />`)}</ul>`
      : html`<${Empty} icon="album" title=${t("albums.empty")} text=${t("albums.how")}>${button}<//>`}
  </div>`;
}

/** @param {{ album: AlbumEntry }} properties */
function OneAlbum({ album }) {
  /** @param {readonly number[]} ids */
  const takeOut = async (ids) => {
    if (!await attempt(() => api.del(`/albums/${album.id}/photos`, { ids }))) return;
    generation.value++;
    toast(t("albums.taken_out", { count: ids.length }), { action: { label: t("rooms.undo"),
      run: () => attempt(() => api.post(`/albums/${album.id}/photos`, { ids })).then(() => void generation.value++) } });
  };
  /** @param {number} cover */
  const setCover = async (cover) => {
    if (await attempt(() => api.patch(`/albums/${album.id}`, { cover }))) toast(t("albums.cover_set"));
    generation.value++;
  };
  /** @param {readonly number[]} ids */
  const actions = (ids) => may("edit") ? [
    { label: t("albums.take_out"), icon: /** @type {IconName} */ ("folder-minus"), run: () => takeOut(ids) },
    ids.length === 1 && { label: t("albums.cover"), icon: /** @type {IconName} */ ("image-plus"), run: () => setCover(ids[0]) },
  ] : [];
  const head = html`<div class="album-head">
    <${Button} kind="quiet" icon="arrow-left" href="/albums" label=${t("rooms.back", { room: t("nav.albums") })} />
    <p class="room-title">${album.name}</p><span class="room-text">${t("rooms.photos", { count: album.photos })}</span>
    ${may("edit") && html`<${Menu} label=${t("albums.more", { name: album.name })} icon="ellipsis-vertical" items=${commands(album)} />`}
  </div>`;
  return html`<${PhotoGrid} scope=${`album:${album.id}`} title=${album.name} hideTitle head=${head} actions=${actions}
    empty=${html`<${Empty} icon="images" title=${t("albums.nothing")} text=${t("albums.fill")}>
      <${Button} icon="images" href="/">${t("albums.to_photos")}<//><//>`} />`;
}

/** The room: all albums, or with an id one. @param {{ route: import("../lib/router.js").Route }} properties */
export default function AlbumsRoom({ route }) {
  const albums = useLive((signal) => /** @type {Promise<{ albums: AlbumEntry[] }>} */ (api.get("/albums", { signal })));
  const wait = pending(albums);
  if (wait) return html`<div class="room"><h1 class="room-title">${t("nav.albums")}</h1>${wait}</div>`;
  const all = albums.data?.albums ?? [];
  if (route.parts[1] === undefined) return html`<${Shelf} albums=${all} />`;
  const album = all.find((one) => one.id === Number(route.parts[1]));
  return album ? html`<${OneAlbum} key=${album.id} album=${album} />`
    : html`<div class="room"><${Empty} icon="album" title=${t("albums.gone")}><${Button} href="/albums" icon="arrow-left">${t("nav.albums")}<//><//></div>`;
}
