// One person or pet, or a group of faces that has no name yet.

import { html, useState } from "../../vendor/preact.js";
import { api, faceThumbnail, may } from "../../lib/api.js";
import { t } from "../../lib/i18n.js";
import { Icon } from "../../parts/icon.js";
import { Menu } from "../../parts/menu.js";
import { ask } from "../../parts/dialog.js";
import { toast } from "../../parts/toast.js";
import { attempt } from "../shared/live.js";
import { askMerge } from "./merge.js";

/** @import { Person } from "../shared/types.js" */

/** @param {{ person: Person, size?: number }} properties */
export function Portrait({ person, size = 120 }) {
  const [broken, setBroken] = useState(false);
  return html`<span class="portrait">${person.cover_face === null || broken
    ? html`<${Icon} name=${person.kind === "pet" ? "paw-print" : "user-round"} size=${size / 2} />`
    : html`<img src=${faceThumbnail(person.cover_face)} alt="" width=${size} height=${size} loading="lazy"
        decoding="async" onError=${() => setBroken(true)} />`}</span>`;
}

/** @param {Person} person */
export const called = (person) => person.name ?? t("people.unnamed");

/**
 * Gives a name. A name that is there already may be the same person: then both are shown and may become one.
 * @param {Person} person @param {string} name @param {readonly Person[]} all @param {(left: number | null) => void} changed
 *   called with the id that is left after a merge, else null
 */
export async function giveName(person, name, all, changed) {
  const same = all.find((one) => one.id !== person.id && one.name?.toLowerCase() === name.toLowerCase());
  if (same) {
    const left = await askMerge(person, all, same);
    if (left !== null) changed(left);
    return;
  }
  await attempt(async () => {
    const { id } = await api.patch(`/people/${person.id}`, { name });
    toast(t("people.named", { name }));
    changed(id === person.id ? null : id); // another page may have given this name in the meantime: then they are one now
  });
}

/** What can be done with a person. @param {Person} person @param {readonly Person[]} all @param {(left: number | null) => void} changed */
export function commands(person, all, changed) {
  /** @param {Record<string, unknown>} values */
  const change = async (values) => {
    if (await attempt(() => api.patch(`/people/${person.id}`, values))) changed(null);
  };
  const rename = async () => {
    const name = await ask({ title: t("people.rename"), action: t("rooms.save"),
      input: { label: t("people.name"), value: person.name ?? "", required: true } });
    if (name && name !== person.name) await giveName(person, name, all, changed);
  };
  const merge = async () => {
    const left = await askMerge(person, all);
    if (left !== null) changed(left);
  };
  const hide = async () => {
    await change({ hidden: !person.hidden });
    if (!person.hidden) toast(t("people.hid", { name: called(person) }), { action: { label: t("rooms.undo"), run: () => change({ hidden: false }) } });
  };
  const pet = person.kind === "pet";
  return [
    { label: person.name ? t("people.rename") : t("people.give"), icon: /** @type {const} */ ("pencil"), run: rename },
    all.length > 1 && { label: t("people.merge"), icon: /** @type {const} */ ("merge"), run: merge },
    { label: t(pet ? "people.is_person" : "people.is_pet"), icon: /** @type {import("../../vendor/icons.js").IconName} */ (pet ? "user-round" : "paw-print"),
      run: () => change({ kind: pet ? "person" : "pet" }) },
    { label: t(person.hidden ? "people.unhide" : "people.hide"), icon: /** @type {import("../../vendor/icons.js").IconName} */ (person.hidden ? "eye" : "eye-off"), run: hide },
  ];
}

/** @param {{ person: Person, all: readonly Person[], changed: (left: number | null) => void }} properties */
export function PersonCard({ person, all, changed }) {
  return html`<li class=${person.hidden ? "person person-hidden" : "person"}>
    <a class="person-link" href="/people/${person.id}" aria-label=${t("people.of", { name: called(person), count: person.photos })}>
      <${Portrait} person=${person} /></a>
    <div class="person-words">
      ${person.name === null && may("edit")
        ? html`<${NameField} person=${person} all=${all} changed=${changed} />`
        : html`<span class="person-name">${called(person)}</span>`}
      <span class="person-count" aria-hidden="true">${t("rooms.photos", { count: person.photos })}</span>
    </div>
    ${may("edit") && html`<${Menu} label=${t("people.more", { name: called(person) })} icon="ellipsis-vertical"
      items=${commands(person, all, changed)} />`}
  </li>`;
}

/** A line to type a name in, without leaving the list. @param {{ person: Person, all: readonly Person[], changed: (left: number | null) => void }} properties */
function NameField({ person, all, changed }) {
  const [name, setName] = useState("");
  /** @param {Event} event */
  const submit = (event) => {
    event.preventDefault();
    if (name.trim()) void giveName(person, name.trim(), all, changed);
  };
  return html`<form class="person-form" onSubmit=${submit}>
    <input class="input" list="people-names" placeholder=${t("people.who")} aria-label=${t("people.who_of", { count: person.photos })}
      value=${name} onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} enterkeyhint="done" />
  </form>`;
}
