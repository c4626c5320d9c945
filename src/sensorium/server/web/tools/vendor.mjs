// Makes vendor/ from node_modules: `npm ci && npm run vendor`. The result is committed, so that the page
// needs neither npm nor a build. One file a library; Preact, its hooks, signals and htm share one file
// because there must be a single copy of Preact.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as lucide from "lucide";

const web = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(web, "node_modules");
const vendor = join(web, "vendor");

/** Icons of the page, by their name at lucide.dev; written as kebab-case names. */
const ICONS = `
  activity album archive archive-restore arrow-down-up arrow-left arrow-right arrow-up arrow-up-right ban calendar camera check
  check-check chevron-down chevron-left chevron-right chevron-up circle-alert circle-check circle-help
  circle-pause circle-play circle-plus circle-x clock clock-3 cloud-off copy cpu database download ellipsis
  ellipsis-vertical external-link eye eye-off file-warning film filter folder folder-minus folder-open
  folder-plus folder-search gauge globe hard-drive hash heart heart-off house image image-off image-plus images
  info key-round languages layers layout-grid link list loader-circle locate lock log-in log-out map map-pin maximize
  menu merge message-circle minimize minus monitor moon mountain mouse-pointer-click paw-print pencil play plus power refresh-cw refresh-ccw rotate-ccw
  redo-2 save scan-face scan-search scan-text search search-x server settings share-2 shield shield-check
  sliders-horizontal smile sparkles scissors split square square-check square-dashed-mouse-pointer square-pen star sun sun-moon tag text text-search
  trash-2 triangle-alert undo-2 unlink unplug upload user user-check user-minus user-plus user-round user-x users users-round video
  wand-sparkles wifi-off wrench x zoom-in zoom-out
`.trim().split(/\s+/);

/** Bundles `source`, resolved from node_modules, into vendor/`name`. */
async function bundle(name, source) {
  await build({
    stdin: { contents: source, resolveDir: web, loader: "js" },
    outfile: join(vendor, name),
    bundle: true,
    format: "esm",
    minify: true,
    target: "es2022",
    charset: "utf8",
    legalComments: "inline",
  });
}

/** Writes the chosen icons as lists of [tag, attributes], the form that parts/icon.js draws. */
function icons() {
  const chosen = {};
  for (const name of ICONS) {
    const pascal = name.split("-").map((part) => part[0].toUpperCase() + part.slice(1)).join("");
    const node = lucide[pascal];
    if (!node) throw new Error(`lucide has no icon ${name}`);
    chosen[name] = node;
  }
  writeFileSync(join(vendor, "icons.js"),
    `/* Icons of Lucide (ISC licence, see LICENSES). Made by tools/vendor.mjs. */\n` +
    `export const icons = ${JSON.stringify(chosen, null, 0)};\n`);
  writeFileSync(join(vendor, "icons.d.ts"),
    `export type IconName = ${ICONS.map((name) => JSON.stringify(name)).join(" | ")};\n` +
    `export const icons: Record<IconName, [string, Record<string, string>][]>;\n`);
}

/** One text file with the licence of every library that vendor/ is made of. */
function licences(names) {
  const parts = names.map((name) => {
    const folder = join(modules, name);
    const about = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    if (!file) throw new Error(`${name} carries no licence text`);
    return `${name} ${about.version} (${about.license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  writeFileSync(join(vendor, "LICENSES"), parts.join(`\n${"-".repeat(80)}\n\n`));
}

const TYPES = {
  "preact.d.ts":
    `export * from "preact";\nexport * from "preact/hooks";\nexport * from "@preact/signals";\n` +
    `import type { VNode } from "preact";\n` +
    `/** A template of htm, bound to Preact. */\n` +
    `export const html: (strings: TemplateStringsArray, ...values: any[]) => VNode;\n`,
  "photoswipe.d.ts": `export { default } from "photoswipe";\nexport * from "photoswipe";\n`,
  "justified-layout.d.ts":
    `export interface Box { aspectRatio: number; top: number; left: number; width: number; height: number; ` +
    `forcedAspectRatio?: boolean }\n` +
    `export interface Layout { containerHeight: number; widowCount: number; boxes: Box[] }\n` +
    `export default function justifiedLayout(ratios: number[], options: Record<string, unknown>): Layout;\n`,
  "leaflet.d.ts": `export * from "leaflet";\n`,
  "supercluster.d.ts": `export { default } from "supercluster";\n`,
  "topojson.d.ts": `export * from "topojson-client";\n`,
};

// basemap/ is made by tools/basemap.mjs and tools/towns.py, and stays.
mkdirSync(vendor, { recursive: true });
for (const entry of readdirSync(vendor)) {
  if (entry !== "basemap") rmSync(join(vendor, entry), { recursive: true });
}
await bundle("preact.js",
  `export * from "preact"; export * from "preact/hooks"; export * from "@preact/signals"; export { html } from "htm/preact";`);
await bundle("photoswipe.js", `export { default } from "photoswipe";`);
await bundle("justified-layout.js", `import layout from "justified-layout"; export default layout;`);
await bundle("leaflet.js", `export * from "leaflet/dist/leaflet-src.esm.js";`);
await bundle("supercluster.js", `export { default } from "supercluster";`);
await bundle("topojson.js", `export { feature, mesh } from "topojson-client";`);
cpSync(join(modules, "photoswipe/dist/photoswipe.css"), join(vendor, "photoswipe.css"));
cpSync(join(modules, "leaflet/dist/leaflet.css"), join(vendor, "leaflet.css"));
icons();
for (const [name, text] of Object.entries(TYPES)) writeFileSync(join(vendor, name), text);
licences(["preact", "@preact/signals", "@preact/signals-core", "htm", "photoswipe", "justified-layout", "leaflet",
  "lucide", "supercluster", "kdbush", "topojson-client", "world-atlas"]);
console.log(execFileSync("du", ["-ab", vendor], { encoding: "utf8" }));
