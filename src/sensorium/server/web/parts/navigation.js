import { html, useState } from "../vendor/preact.js";
import { may } from "../lib/api.js";
import { language, setLanguage, t } from "../lib/i18n.js";
import { setTheme, theme, THEMES } from "../lib/theme.js";
import { Button } from "./button.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";
import { toastError } from "./toast.js";

/** @import { IconName } from "../vendor/icons.js" */
/** @typedef {{ room: string, icon: IconName, main?: boolean }} Place */

/** @type {Place[]} */
const PLACES = [
  { room: "", icon: "images", main: true },
  { room: "people", icon: "users", main: true },
  { room: "map", icon: "map", main: true },
  { room: "albums", icon: "album", main: true },
  { room: "favourites", icon: "heart" },
  { room: "videos", icon: "video" },
  { room: "duplicates", icon: "copy" },
  { room: "hidden", icon: "eye-off" },
  { room: "health", icon: "activity" },
  { room: "settings", icon: "settings" },
];

/** @type {Record<string, IconName>} */
const THEME_ICONS = { system: "sun-moon", light: "sun", dark: "moon" };

/** @param {{ place: Place, current: string, onGo?: () => void }} properties */
function PlaceLink({ place, current, onGo }) {
  const here = place.room === current || (place.room === "" && current === "search");
  return html`<a class="place" href=${`/${place.room}`} aria-current=${here ? "page" : undefined} onClick=${onGo}
      title=${t(`nav.${place.room || "photos"}`)}>
    <${Icon} name=${place.icon} /><span>${t(`nav.${place.room || "photos"}`)}</span></a>`;
}

/** The two switches that everyone may use: language and light or dark. */
export function Switches() {
  const next = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length];
  const other = language.value === "en" ? "zh" : "en";
  return html`<div class="switches">
    <${Button} kind="quiet" icon=${THEME_ICONS[theme.value]} label=${t("shell.theme", { theme: t(`theme.${theme.value}`) })}
      onClick=${() => setTheme(next)} />
    <${Button} kind="quiet" icon="languages" lang=${other} label=${other === "zh" ? "中文" : "English"}
      onClick=${() => setLanguage(other).catch(toastError)}>${other === "zh" ? "中文" : "English"}<//>
  </div>`;
}

const visible = () => PLACES.filter((place) => place.room !== "settings" || may("view"));

/** The column beside the room on wide windows. @param {{ current: string }} properties */
export function Navigation({ current }) {
  return html`<nav class="side" aria-label=${t("shell.navigation")}>
    ${visible().map((place) => html`<${PlaceLink} key=${place.room} place=${place} current=${current} />`)}
    <${Switches} />
  </nav>`;
}

/** The bar at the lower edge of a phone. @param {{ current: string }} properties */
export function TabBar({ current }) {
  const [open, setOpen] = useState(false);
  const close = () => setOpen(false);
  return html`<nav class="tabs" aria-label=${t("shell.navigation")}>
    ${visible().filter((place) => place.main).map((place) => html`<${PlaceLink} key=${place.room} place=${place} current=${current} />`)}
    <button type="button" class="place" aria-haspopup="dialog" onClick=${() => setOpen(true)}>
      <${Icon} name="menu" /><span>${t("nav.more")}</span></button>
    ${open && html`<${Dialog} title=${t("nav.more")} onClose=${close}>
      <div class="more-places">${visible().filter((place) => !place.main).map((place) =>
        html`<${PlaceLink} key=${place.room} place=${place} current=${current} onGo=${close} />`)}</div>
      <${Switches} />
    <//>`}
  </nav>`;
}
