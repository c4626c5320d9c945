// Who may come in from elsewhere: a token a device, shown once, taken back at any time.

import { html, useState } from "../../vendor/preact.js";
import { api } from "../../lib/api.js";
import { date, t } from "../../lib/i18n.js";
import { Button } from "../../parts/button.js";
import { ask, Dialog } from "../../parts/dialog.js";
import { Icon } from "../../parts/icon.js";
import { toast } from "../../parts/toast.js";
import { attempt, pending, useLive } from "../shared/live.js";
import { Copyable } from "../shared/note.js";
import { Section } from "../shared/section.js";

/** @import { Token } from "../shared/types.js" */

const ROLES = ["view", "edit", "admin"];

/** @param {{ token: Token, changed: () => void }} properties */
function Entry({ token, changed }) {
  const revoke = async () => {
    const sure = await ask({ title: t("tokens.revoke_title", { name: token.name }), text: t(token.current ? "tokens.revoke_own" : "tokens.revoke_text"),
      action: t("tokens.revoke"), danger: true });
    if (sure === null || !await attempt(() => api.del(`/tokens/${token.id}`))) return;
    toast(t("tokens.revoked", { name: token.name }));
    changed();
  };
  return html`<li class="entry"><${Icon} name="key-round" />
    <div class="entry-words"><span class="entry-name">${token.name} <span class="badge">${t(`role.${token.role}`)}</span>
      ${token.current && html`<span class="badge badge-quiet">${t("tokens.current")}</span>`}</span>
      <span class="entry-more">${token.used_at ? t("tokens.used", { date: date(token.used_at, "short") }) : t("tokens.unused")}</span></div>
    <${Button} kind="quiet" icon="trash-2" label=${t("tokens.revoke_one", { name: token.name })} onClick=${revoke} /></li>`;
}

/** @param {{ close: () => void, changed: () => void }} properties */
function NewToken({ close, changed }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState("view");
  const [made, setMade] = useState(/** @type {string | null} */ (null));
  /** @param {Event} event */
  const make = async (event) => {
    event.preventDefault();
    await attempt(async () => {
      setMade((await api.post("/tokens", { name: name.trim(), role })).token);
      changed();
    });
  };
  if (made !== null) {
    return html`<${Dialog} title=${t("tokens.made", { name })} onClose=${close} actions=${html`<${Button} kind="primary" onClick=${close}>${t("rooms.done")}<//>`}>
      <p>${t("tokens.once")}</p><${Copyable} text=${made} label=${t("tokens.copy")} /><//>`;
  }
  return html`<${Dialog} title=${t("tokens.new")} onClose=${close}><form class="stack" onSubmit=${make}>
    <label class="field"><span>${t("tokens.name")}</span>
      <input class="input" autofocus required value=${name} placeholder=${t("tokens.example")} onInput=${(/** @type {any} */ event) => setName(event.currentTarget.value)} /></label>
    <fieldset class="pick"><legend>${t("tokens.may")}</legend>${ROLES.map((one) => html`<label key=${one} class="tick-line">
      <input type="radio" name="role" checked=${role === one} onChange=${() => setRole(one)} />
      <span><strong>${t(`role.${one}`)}</strong><br /><span class="soft">${t(`role.${one}_text`)}</span></span></label>`)}</fieldset>
    <footer class="dialog-actions"><${Button} kind="quiet" onClick=${close}>${t("action.cancel")}<//>
      <${Button} type="submit" kind="primary" icon="key-round" disabled=${!name.trim()}>${t("tokens.make")}<//></footer>
  </form><//>`;
}

/** The part of the settings. */
export function Tokens() {
  const tokens = useLive((signal) => /** @type {Promise<{ tokens: Token[] }>} */ (api.get("/tokens", { signal })));
  const [asking, setAsking] = useState(false);
  const all = tokens.data?.tokens ?? [];
  const add = html`<${Button} icon="plus" onClick=${() => setAsking(true)}>${t("tokens.new")}<//>`;
  return html`<${Section} id="access" title=${t("tokens.title")} text=${t("tokens.text")} actions=${add}>
    ${pending(tokens) ?? (all.length ? html`<ul class="entries">${all.map((token) => html`<${Entry} key=${token.id} token=${token} changed=${tokens.reload} />`)}</ul>`
      : html`<p class="room-text">${t("tokens.none")}</p>`)}
    ${asking && html`<${NewToken} close=${() => setAsking(false)} changed=${tokens.reload} />`}<//>`;
}
