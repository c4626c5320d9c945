// The map of all photos with a place: drawn by ourselves, without a network.

import { effect, html, useEffect, useRef, useState } from "../vendor/preact.js";
import { api, thumbnail } from "../lib/api.js";
import { language, number, t } from "../lib/i18n.js";
import { theme } from "../lib/theme.js";
import { Empty } from "../parts/states.js";
import { mapParts } from "./atlas/load.js";
import { pending, useLive } from "./shared/live.js";
import { SpotPhotos } from "./shared/spot-photos.js";

/** @import { Points, Group } from "./atlas/clusters.js" */
/** @import { Map as LeafletMap, LatLngBoundsExpression } from "../vendor/leaflet.js" */
/** @typedef {{ids: number[], count: number, title: string, group: Group}} Opened */

/** Where the map was when it was left, so that coming back from a photo finds it there. */
/** @type {{center: [number, number], zoom: number} | null} */
let left = null;
/** @type {Opened | null} */
let leftOpen = null;

const NARROW = 600; // pixels: the whole world fits at a smaller zoom
const CLOSEST = 18;
const FIRST_CLOSEST = 7; // photos of one town: show the country around it, too

/** 12, 3.4k, 1.2万: what fits on a badge. @param {number} count */
const short = (count) => number(count, { notation: "compact", maximumFractionDigits: count < 10_000 ? 1 : 0 });

/** @param {Points} points @returns {LatLngBoundsExpression} */
function around(points) {
  const low = (/** @type {number[]} */ values) => values.reduce((one, other) => Math.min(one, other), 90);
  const high = (/** @type {number[]} */ values) => values.reduce((one, other) => Math.max(one, other), -180);
  return [
    [Math.max(-80, low(points.latitudes)), points.longitudes.reduce((one, other) => Math.min(one, other), 180)],
    [Math.min(80, high(points.latitudes)), high(points.longitudes)],
  ];
}

/**
 * Build the map in `frame`.
 * @param {HTMLElement} frame @param {Points} points
 * @param {(opened: Opened, element: HTMLElement) => void} open
 * @returns {Promise<{map: LeafletMap, remove: () => void}>}
 */
async function build(frame, points, open) {
  const { L, Groups, Markers, draw, nearest, world } = await mapParts();
  const drawn = await world();
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = L.map(frame, {
    minZoom: frame.clientWidth < NARROW ? 1 : 2, maxZoom: CLOSEST, zoomControl: false, attributionControl: false, zoomAnimation: !calm,
    fadeAnimation: false, worldCopyJump: false, maxBounds: [[-86, -200], [86, 200]], maxBoundsViscosity: 0.8,
  });
  L.control.zoom({ zoomInTitle: t("map.closer"), zoomOutTitle: t("map.farther") }).addTo(map);
  if (left) map.setView(left.center, left.zoom);
  else map.fitBounds(around(points), { padding: [40, 40], maxZoom: FIRST_CLOSEST });
  const paint = draw(map, drawn, document.documentElement.lang);
  const groups = new Groups(points);
  const describe = (/** @type {Group} */ group) => {
    const near = groups.spots(group).map(([latitude, longitude]) => nearest(drawn, latitude, longitude, document.documentElement.lang));
    if (!near[0]) return t("map.photos", { count: group.count });
    return t(near.every((name) => name === near[0]) ? "map.near" : "map.around", { count: group.count, place: near[0] });
  };
  const markers = new Markers(map, groups, {
    thumbnail: (id) => thumbnail(id, 240),
    label: describe,
    short,
    open: (group, element) => open({ ids: groups.photos(group), count: group.count, title: describe(group), group }, element),
  });
  map.on("moveend", () => {
    const { lat, lng } = map.getCenter();
    left = { center: [lat, lng], zoom: map.getZoom() };
  });
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", paint);
  const stop = effect(() => void (theme.value, requestAnimationFrame(paint)));
  const resized = new ResizeObserver(() => map.invalidateSize({ animate: false }));
  resized.observe(frame);
  markers.refresh();
  return {
    map,
    remove() {
      dark.removeEventListener("change", paint);
      stop();
      resized.disconnect();
      map.remove();
    },
  };
}

/** @param {{points: Points}} properties */
function Atlas({ points }) {
  const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
  const built = useRef(/** @type {LeafletMap | null} */ (null));
  const from = useRef(/** @type {HTMLElement | null} */ (null));
  const [opened, setOpened] = useState(leftOpen);
  const [fault, setFault] = useState("");
  const show = (/** @type {Opened | null} */ next) => setOpened((leftOpen = next));
  const close = () => {
    show(null);
    (from.current?.isConnected ? from.current : frame.current)?.focus({ preventScroll: true });
  };

  useEffect(() => {
    let over = false;
    let remove = () => {};
    const open = (/** @type {Opened} */ next, /** @type {HTMLElement} */ element) => {
      from.current = element;
      show(next);
    };
    build(/** @type {HTMLElement} */ (frame.current), points, open).then(
      (made) => {
        remove = made.remove;
        built.current = made.map;
        if (over) remove();
      },
      (error) => setFault(error.message),
    );
    return () => {
      over = true;
      built.current = null;
      remove();
    };
  }, [points, language.value]);

  const closer = () => {
    const group = opened?.group;
    if (group) built.current?.setView([group.latitude, group.longitude], Math.max(group.closer, built.current.getZoom() + 2));
    show(null);
    frame.current?.focus({ preventScroll: true });
  };
  return html`<div class="map-room ${opened ? "map-opened" : ""}">
    <div class="map-frame" ref=${frame} role="application" tabindex="0" aria-label=${t("map.label")}
      aria-describedby="map-keys"></div>
    <p id="map-keys" class="hidden-visually">${t("map.keys")}</p>
    <p class="map-source">Natural Earth · GeoNames</p>
    ${fault && html`<p class="room-fault" role="alert">${t("map.fault", { detail: fault })}</p>`}
    ${opened && html`<${SpotPhotos} key=${opened.group.key} title=${opened.title} ids=${opened.ids} total=${opened.count}
      onClose=${close} action=${opened.count > 1 && { label: t("map.closer_here"), icon: "zoom-in", run: closer }} />`}
  </div>`;
}

/** The room. */
export default function MapRoom() {
  const points = useLive((signal) => /** @type {Promise<Points>} */ (api.get("/places/points", { signal })));
  const title = html`<h1 class="room-title">${t("nav.map")}</h1>`;
  const wait = pending(points);
  if (wait || !points.data) return html`<div class="room">${title}${wait}</div>`;
  if (!points.data.ids.length) return html`<div class="room">${title}<${Empty} icon="map-pin" title=${t("map.empty")} text=${t("map.how")} /></div>`;
  return html`<h1 class="hidden-visually">${t("nav.map")}</h1><${Atlas} points=${points.data} />`;
}
