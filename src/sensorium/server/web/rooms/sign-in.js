// The door: a token opens it.

import { html, useEffect, useState } from "../vendor/preact.js";
import { api, ApiError, refreshSession, session } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { navigate } from "../lib/router.js";
import { Button } from "../parts/button.js";
import { Switches } from "../parts/navigation.js";

/** Where to go on: only ever within this page. @param {string | null} to */
const onward = (to) => (to && /^\/(?![/\\])/.test(to) && !to.startsWith("/sign-in") ? to : "/");

/** @param {{ route: import("../lib/router.js").Route }} properties */
export default function SignInRoom({ route }) {
  const [token, setToken] = useState("");
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const to = onward(route.query.get("to"));
  const inside = session.value && (session.value.signed_in || !session.value.needs_sign_in);
  useEffect(() => {
    if (inside) navigate(to, { replace: true });
  }, [inside]);
  /** @param {Event} event */
  const enter = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await api.post("/session", { token: token.trim() });
      setFault("");
      await refreshSession();
    } catch (error) {
      const code = error instanceof ApiError ? error.code : "";
      setFault(code === "wrong_token" ? t("sign.wrong") : error instanceof Error ? error.message : String(error));
      setToken("");
    }
    setBusy(false);
  };
  return html`<div class="sign-in"><img src=${new URL("../icon.svg", import.meta.url).href} alt="" width="56" height="56" />
    <h1>Sensorium</h1><p class="room-text">${t("sign.text")}</p>
    <form class="stack" onSubmit=${enter}>
      <label class="field"><span>${t("sign.token")}</span>
        <input class="input" type="password" autocomplete="current-password" name="token" autofocus required value=${token}
          aria-invalid=${fault ? "true" : undefined} aria-describedby="sign-fault"
          onInput=${(/** @type {any} */ event) => setToken(event.currentTarget.value)} /></label>
      <p id="sign-fault" class="field-fault" role="alert">${fault}</p>
      <${Button} type="submit" kind="primary" icon="log-in" busy=${busy} disabled=${!token.trim()}>${t("sign.in")}<//>
    </form>
    <details class="room-text"><summary>${t("sign.where")}</summary><p>${t("sign.how")}</p></details>
    <${Switches} /></div>`;
}
