// Where one photo was taken: a still piece of the map.

import { html, useEffect, useRef, useState } from "../../vendor/preact.js";
import { language, t } from "../../lib/i18n.js";
import { theme } from "../../lib/theme.js";
import { mapParts } from "../atlas/load.js";

const ZOOM = 5; // the country around it

/** @param {{ latitude: number, longitude: number }} properties degrees */
export default function MiniMap({ latitude, longitude }) {
  const frame = useRef(/** @type {HTMLDivElement | null} */ (null));
  const [fault, setFault] = useState(false);
  useEffect(() => {
    /** @type {import("../../vendor/leaflet.js").Map | null} */
    let map = null;
    let over = false;
    const show = async () => {
      const { L, draw, world } = await mapParts();
      const drawn = await world();
      if (over || !frame.current) return;
      map = L.map(frame.current, { zoomControl: false, attributionControl: false, dragging: false, keyboard: false,
        scrollWheelZoom: false, doubleClickZoom: false, touchZoom: false, boxZoom: false, fadeAnimation: false });
      map.setView([latitude, longitude], ZOOM);
      draw(map, drawn, document.documentElement.lang);
      L.marker([latitude, longitude], { icon: L.divIcon({ className: "map-pin", iconSize: [16, 16] }), keyboard: false, interactive: false }).addTo(map);
    };
    show().catch(() => setFault(true)); // the position stands beside it in figures
    return () => {
      over = true;
      map?.remove();
    };
  }, [latitude, longitude, language.value, theme.value]);
  return fault ? null : html`<div class="mini-map" ref=${frame} role="img" aria-label=${t("map.mini")}></div>`;
}
