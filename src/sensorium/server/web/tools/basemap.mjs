/**
 * Makes vendor/basemap/world.json: land and borders of the world for the map that needs no network.
 *
 * Natural Earth (public domain), as packaged by world-atlas, simplified until a border is about a pixel off at
 * zoom 6, with a spot for each country's label. Run from the folder of package.json: `node tools/basemap.mjs`.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { geoEquirectangular } from "d3-geo";
import { geoProject } from "d3-geo-projection";
import codes from "i18n-iso-countries";
import polylabel from "polylabel";
import { feature, quantize } from "topojson-client";
import { topology } from "topojson-server";
import { filter, filterWeight, presimplify, simplify } from "topojson-simplify";

const DETAIL = 0.002; // square degrees: corners of smaller triangles are dropped
const ISLET = 0.0004; // square degrees: smaller rings are dropped
const STEPS = 36000; // of longitude around the world: about a kilometre at the equator
const TARGET = fileURLToPath(new URL("../vendor/basemap/world.json", import.meta.url));

/** Twice the area of a ring in square degrees: enough to compare islands of one country. */
function extent(ring) {
  let sum = 0;
  for (let at = 0, from = ring.length - 1; at < ring.length; from = at++) {
    sum += (ring[from][0] - ring[at][0]) * (ring[from][1] + ring[at][1]);
  }
  return Math.abs(sum);
}

/** Where a country's name stands, and how much room it has: the widest spot of its largest part. */
function labelled(shape) {
  const parts = shape.geometry.type === "Polygon" ? [shape.geometry.coordinates] : shape.geometry.coordinates;
  const widest = parts.reduce((best, part) => (extent(part[0]) > extent(best[0]) ? part : best));
  const spot = polylabel(widest, 0.05);
  return { at: [Number(spot[0].toFixed(2)), Number(spot[1].toFixed(2))], room: Number(spot.distance.toFixed(2)) };
}

const atlas = JSON.parse(readFileSync(createRequire(import.meta.url).resolve("world-atlas/countries-50m.json"), "utf8"));
// The atlas is a globe, without the seam at 180 degrees that a flat map needs: cut there, degrees stay degrees.
const flat = geoEquirectangular().scale(180 / Math.PI).translate([0, 0]).reflectY(true).precision(0);
const countries = geoProject(feature(atlas, atlas.objects.countries), flat);
const plain = simplify(presimplify(topology({ countries }, 1e6)), DETAIL);
const world = quantize(filter(plain, filterWeight(plain, ISLET)), STEPS);
world.objects.countries.geometries = world.objects.countries.geometries.filter((shape) => shape.type);
for (const shape of world.objects.countries.geometries) {
  const code = shape.id ? codes.numericToAlpha2(shape.id) : undefined;
  shape.properties = { ...(code ? { code } : { name: shape.properties.name }), ...labelled(feature(world, shape)) };
  delete shape.id;
}
delete world.bbox;
writeFileSync(TARGET, `${JSON.stringify(world)}\n`);
