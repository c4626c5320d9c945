// One person: all photos, or all faces so that wrong ones can be taken out.

import { html } from "../../vendor/preact.js";
import { api, faceThumbnail, may } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { navigate } from "../../lib/router.js";
import { generation } from "../../lib/store.js";
import { Button } from "../../parts/button.js";
import { Menu } from "../../parts/menu.js";
import { PhotoGrid } from "../../parts/photo-grid.js";
import { Empty } from "../../parts/states.js";
import { toast } from "../../parts/toast.js";
import { attempt, pending, useLive } from "../shared/live.js";
import { called, commands, giveName, Portrait } from "./card.js";
import { ask } from "../../parts/dialog.js";

/** @import { Loaded } from "../../lib/load.js" */
/** @import { People, Person, PersonFace } from "../shared/types.js" */

/** @param {{ id: number, people: Loaded<People>, faces: boolean }} properties */
export function OnePerson({ id, people, faces }) {
  const all = people.data?.people ?? [];
  const person = all.find((one) => one.id === id);
  if (!person) {
    return html`<div class="room"><${Empty} icon="user-x" title=${t("people.gone")}>
      <${Button} href="/people" icon="arrow-left">${t("nav.people")}<//><//></div>`;
  }
  /** @param {number | null} left */
  const changed = (left) => {
    if (left !== null && left !== id) navigate(`/people/${left}`, { replace: true });
    people.reload();
  };
  const head = html`<${Head} person=${person} all=${all} faces=${faces} changed=${changed} />`;
  if (faces) return html`<div class="room"><h1 class="hidden-visually">${called(person)}</h1>${head}<${Faces} person=${person} changed=${changed} /></div>`;
  return html`<${PhotoGrid} scope=${`person:${id}`} title=${called(person)} hideTitle head=${head}
    empty=${html`<${Empty} icon="images" title=${t("people.no_photos")} />`} />`;
}

/** @param {{ person: Person, all: Person[], faces: boolean, changed: (left: number | null) => void }} properties */
function Head({ person, all, faces, changed }) {
  const give = async () => {
    const name = await ask({ title: t("people.give"), action: t("rooms.save"), input: { label: t("people.name"), required: true } });
    if (name) await giveName(person, name, all, changed);
  };
  return html`<div class="person-head">
    <${Button} kind="quiet" icon="arrow-left" href="/people" label=${t("rooms.back", { room: t("nav.people") })} />
    <${Portrait} person=${person} size=${64} />
    <div class="person-head-words"><p class="room-title">${called(person)}</p>
      <p class="room-text">${t("rooms.photos", { count: person.photos })}${person.hidden ? ` · ${t("people.is_hidden")}` : ""}</p></div>
    <div class="room-actions">
      ${person.name === null && may("edit") && html`<${Button} kind="primary" icon="pencil" onClick=${give}>${t("people.give")}<//>`}
      ${may("edit") && person.faces > 0 && (faces
        ? html`<${Button} icon="images" href="/people/${person.id}">${t("people.to_photos")}<//>`
        : html`<${Button} icon="user-check" href="/people/${person.id}?faces=1">${t("people.to_faces")}<//>`)}
      ${may("edit") && html`<${Menu} label=${t("people.more", { name: called(person) })} icon="ellipsis-vertical"
        items=${commands(person, all, changed)} />`}
    </div>
  </div>`;
}

/** @param {{ person: Person, changed: (left: number | null) => void }} properties */
function Faces({ person, changed }) {
  const faces = useLive((signal) => /** @type {Promise<{ faces: PersonFace[] }>} */ (api.get(`/people/${person.id}/faces`, { signal })), [person.id]);
  const wait = pending(faces);
  if (wait) return wait;
  /** @param {PersonFace} face */
  const wrong = async (face) => {
    if (!await attempt(() => api.post(`/faces/${face.id}`, { not_person_id: person.id }))) return;
    const back = () => attempt(() => api.post(`/faces/${face.id}`, { person_id: person.id })).then(() => void generation.value++);
    toast(t("people.taken_out"), { action: { label: t("rooms.undo"), run: back } });
    generation.value++;
  };
  /** @param {PersonFace} face */
  const cover = async (face) => {
    if (await attempt(() => api.patch(`/people/${person.id}`, { cover_face: face.id }))) changed(null);
  };
  return html`<p class="room-text">${t("people.faces_text", { name: called(person) })}</p>
    <ul class="seen-faces">${faces.data?.faces.map((face, index) => html`<li key=${face.id} class="seen-face">
      <a href="/photo/${face.photo_id}" aria-label=${t("people.face_photo", { number: String(index + 1) })}>
        <img src=${faceThumbnail(face.id)} alt="" width="112" height="112" loading="lazy" decoding="async" /></a>
      <div class="seen-face-actions">
        <${Button} kind="quiet" icon="user-x" label=${t("people.not", { name: called(person), number: String(index + 1) })} onClick=${() => wrong(face)} />
        <${Button} kind="quiet" icon="image-plus" label=${t("people.cover", { number: String(index + 1) })} pressed=${face.id === person.cover_face}
          onClick=${() => cover(face)} />
      </div></li>`)}</ul>`;
}
