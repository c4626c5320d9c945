// Where the page starts: theme, language, session, then the shell. Rooms are fetched when they are opened.

import { html, render } from "./vendor/preact.js";
import { refreshSession } from "./lib/api.js";
import { startLanguage } from "./lib/i18n.js";
import { startRouter } from "./lib/router.js";
import { startTheme } from "./lib/theme.js";
import { Shell } from "./parts/shell.js";

startTheme();
startRouter();
// A server that does not answer shows as such in the shell.
await Promise.all([startLanguage(), refreshSession().catch(() => undefined)]);
render(html`<${Shell} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
