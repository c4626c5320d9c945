// Settings: how the page looks, which folders, which model, who may come in.

import { html } from "../vendor/preact.js";
import { api, may, refreshSession, session } from "../lib/api.js";
import { language, setLanguage, t } from "../lib/i18n.js";
import { setTheme, theme, THEMES } from "../lib/theme.js";
import { Button } from "../parts/button.js";
import { toastError } from "../parts/toast.js";
import { attempt } from "./shared/live.js";
import { Section } from "./shared/section.js";
import { Folders } from "./settings/folders.js";
import { Models } from "./settings/models.js";
import { Shares } from "./settings/shares.js";
import { Tokens } from "./settings/tokens.js";

/** @import { Language } from "../lib/types.js" */

/**
 * A row of buttons of which one is chosen.
 * @param {{ name: string, label: string, options: { value: string, label: string, lang?: string }[], value: string, choose: (value: any) => void }} properties
 */
function Choice({ name, label, options, value, choose }) {
  return html`<fieldset class="pick"><legend>${label}</legend><div class="pick-options">
    ${options.map((option) => html`<label key=${option.value} class="pick-option" lang=${option.lang}>
      <input type="radio" name=${name} checked=${option.value === value} onChange=${() => choose(option.value)} /><span>${option.label}</span></label>`)}
  </div></fieldset>`;
}

const LANGUAGES = [{ value: "en", label: "English", lang: "en" }, { value: "zh", label: "中文", lang: "zh" }];

function Look() {
  return html`<${Section} id="look" title=${t("look.title")}>
    <div class="picks">
      <${Choice} name="language" label=${t("look.language")} options=${LANGUAGES} value=${language.value}
        choose=${(/** @type {Language} */ wanted) => setLanguage(wanted).catch(toastError)} />
      <${Choice} name="theme" label=${t("look.theme")} options=${THEMES.map((one) => ({ value: one, label: t(`theme.${one}`) }))}
        value=${theme.value} choose=${setTheme} />
    </div><//>`;
}

function About() {
  const { version, signed_in: inside, role } = session.value ?? {};
  const leave = () => attempt(async () => {
    await api.del("/session");
    await refreshSession();
  });
  return html`<${Section} id="about" title=${t("about.title")}>
    <p>${t("about.version", { version: version ?? "" })}</p>
    <p class="room-text">${t("about.private")}</p>
    ${inside && html`<p class="row"><span>${t("about.role", { role: t(`role.${role}`) })}</span>
      <${Button} icon="log-out" onClick=${leave}>${t("about.leave")}<//></p>`}
  <//>`;
}

/** The room. */
export default function SettingsRoom() {
  return html`<div class="room parts"><h1 class="room-title">${t("nav.settings")}</h1>
    <${Look} />
    ${may("admin") && html`<${Folders} /><${Models} />`}
    ${may("edit") && html`<${Shares} />`}
    ${may("admin") && html`<${Tokens} />`}
    <${About} />
  </div>`;
}
