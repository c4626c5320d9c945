// The frame around every room: navigation, search box, messages, viewer.

import { Component, html, useEffect, useState } from "../vendor/preact.js";
import { session } from "../lib/api.js";
import { startEvents } from "../lib/events.js";
import { t } from "../lib/i18n.js";
import { covered, navigate, openAsk, openCut, openPhoto, roomAddress, route } from "../lib/router.js";
import { AlbumChoice } from "./album-dialog.js";
import { Questions } from "./dialog.js";
import { Navigation, TabBar } from "./navigation.js";
import { SearchBox } from "./search-box.js";
import { Failed, Loading } from "./states.js";
import { Toasts } from "./toast.js";

/** @typedef {() => Promise<{ default: import("preact").ComponentType<any> }>} RoomLoader */

/** Each room by the first part of its address. @type {Record<string, RoomLoader>} */
const ROOMS = {
  "": () => import("../rooms/photos.js"),
  search: () => import("../rooms/search.js"),
  favourites: () => import("../rooms/favourites.js"),
  hidden: () => import("../rooms/hidden.js"),
  videos: () => import("../rooms/videos.js"),
  map: () => import("../rooms/map.js"),
  people: () => import("../rooms/people.js"),
  albums: () => import("../rooms/albums.js"),
  duplicates: () => import("../rooms/duplicates.js"),
  health: () => import("../rooms/health.js"),
  settings: () => import("../rooms/settings.js"),
  "sign-in": () => import("../rooms/sign-in.js"),
  share: () => import("../rooms/share.js"),
};

/** Rooms for people who are not signed in: nothing of the shell around them. */
const BARE = new Set(["sign-in", "share"]);

/** @type {Map<string, import("preact").ComponentType<any>>} */
const loaded = new Map();

/** @param {{ name: string }} properties */
function Room({ name }) {
  const [, redraw] = useState(0);
  const [error, setError] = useState(/** @type {unknown} */ (null));
  useEffect(() => {
    setError(null);
    const load = ROOMS[name];
    if (loaded.has(name) || !load) return;
    load().then((module) => {
      loaded.set(name, module.default);
      redraw((round) => round + 1);
    }, setError);
  }, [name]);
  const Found = loaded.get(name);
  if (!(name in ROOMS)) return html`<${Failed} error=${t("error.no_such_page")} />`;
  if (error) return html`<${Failed} error=${error} retry=${() => location.reload()} />`;
  if (!Found) return html`<${Loading} />`;
  return html`<${Found} route=${route.value} />`;
}

/** A fault in one room leaves the rest of the page usable. */
class Guard extends Component {
  /** @type {{ error: unknown }} */
  state = { error: null };
  /** @param {unknown} error */
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }
  render() {
    return this.state.error
      ? html`<${Failed} error=${this.state.error} retry=${() => this.setState({ error: null })} />`
      : this.props.children;
  }
}

/** A part that is fetched after the first picture stands. @param {{ load: RoomLoader } & Record<string, any>} properties */
function Later({ load, ...rest }) {
  const [Found, setFound] = useState(/** @type {import("preact").ComponentType<any> | null} */ (null));
  useEffect(() => {
    let gone = false;
    load().then((module) => { if (!gone) setFound(() => module.default); }, console.error);
    return () => { gone = true; };
  }, []);
  return Found && html`<${Found} ...${rest} />`;
}

const loadProgress = () => import("../rooms/progress.js");
const loadViewer = () => import("./viewer.js");
const loadCut = () => import("../rooms/cut.js");
const loadAsk = () => import("../rooms/ask.js");

/** Sends those who must sign in to where they can; they come back to where they were. */
function useSignIn() {
  const current = session.value;
  const name = route.value.parts[0] ?? "";
  useEffect(() => {
    if (!current) return;
    if (current.signed_in || !current.needs_sign_in) startEvents();
    else if (!BARE.has(name)) {
      navigate(`/sign-in?to=${encodeURIComponent(roomAddress.peek())}`, { replace: true });
    }
  }, [current, name]);
}

/** The whole page. */
export function Shell() {
  const name = route.value.parts[0] ?? "";
  useSignIn();
  if (BARE.has(name)) {
    return html`<main class="bare" id="main"><${Guard} key=${name}><${Room} name=${name} /><//></main><${Toasts} /><${Questions} />`;
  }
  return html`
    <a class="skip" href="#main" inert=${covered.value} onClick=${skip}>${t("shell.skip")}</a>
    <div class="shell" inert=${covered.value}>
      <header class="top"><a class="brand" href="/" aria-label="Sensorium"><img src=${new URL("../icon.svg", import.meta.url).href} alt="" width="30" height="30" /><span>Sensorium</span></a>
        <${SearchBox} />
      </header>
      <${Navigation} current=${name} />
      <main id="main" tabindex="-1">
        ${session.value ? html`<${Guard} key=${name}><${Room} name=${name} /><//>`
          : html`<${Failed} error=${t("error.network")} retry=${() => location.reload()} />`}
      </main>
      <${TabBar} current=${name} />
      <div class="progress-slot"><${Guard}><${Later} load=${loadProgress} /><//></div>
    </div>
    ${openPhoto.value !== null && html`<${Guard}><${Later} load=${loadViewer} /><//>`}
    ${openCut.value !== null && html`<${Guard} key=${`cut ${openCut.value}`}><${Later} load=${loadCut} id=${openCut.value} /><//>`}
    ${openAsk.value !== null && html`<${Guard} key=${`ask ${openAsk.value}`}><${Later} load=${loadAsk} id=${openAsk.value} /><//>`}
    <${AlbumChoice} /><${Toasts} /><${Questions} />`;
}

/** @param {Event} event */
function skip(event) {
  event.preventDefault();
  document.getElementById("main")?.focus();
}
