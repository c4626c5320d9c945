// The documents of the API that only the rooms of this folder read.

import type { Card } from "../../lib/types.js";

/** Words that the server makes for people, in both languages. */
export interface Words {
  en: string;
  zh: string;
}

export interface Person {
  id: number;
  /** null: a cluster of faces that nobody named yet. */
  name: string | null;
  kind: "person" | "pet";
  hidden: boolean;
  photos: number;
  faces: number;
  cover_face: number | null;
}

export interface People {
  people: Person[];
  faces_ready: boolean;
  /** Why faces cannot be found yet, with the commands that help between backticks. */
  needs: string | null;
}

export interface PersonFace {
  id: number;
  photo_id: number;
  score: number;
  confirmed: boolean;
}

export interface AlbumEntry {
  id: number;
  name: string;
  photos: number;
  cover: number | null;
  created_at: string;
}

/** `best`: the one to keep, by size and age. */
export type Twin = Card & { bytes: number; best: boolean };

export interface TwinGroup {
  kind: "exact" | "near";
  photos: Twin[];
}

export interface Twins {
  groups: TwinGroup[];
  total: number;
  /** Every photo was compared. */
  ready: boolean;
}

export interface RootEntry {
  id: number;
  path: string;
  photos: number;
  /** Why it is offline; null when it is there. */
  offline: Words | null;
}

export interface PassEntry {
  pass: string;
  done: number;
  due: number;
  failed: number;
  ready: boolean;
  needs: string | null;
}

export interface Status {
  photos: number;
  embedded: number;
  offline: number;
  gone: number;
  failed: number;
  roots: RootEntry[];
  bytes: Record<string, number>;
  disk_free: number;
  library: string;
  model: string | null;
  watching: boolean;
  passes: PassEntry[];
}

export interface Failure {
  id: number;
  root: number;
  root_path: string;
  path: string;
  name: string;
  reason: string;
  retry: boolean;
  failed_at: string;
}

/** A photo of which a pass could not be made. */
export interface Undescribed {
  pass: string;
  path: string;
  reason: string;
}

export interface Failures {
  failures: Failure[];
  total: number;
  undescribed: Undescribed[];
}

export interface Progress {
  id: string;
  kind: string;
  state: "running" | "done" | "failed" | "cancelled";
  done: number | null;
  total: number | null;
  phase: string | null;
  result: Record<string, any> | null;
  error: { code: string; detail: string } | null;
  started_at: string;
  /** It was asked to end and has not ended yet. */
  cancelling: boolean;
}

export interface Finding {
  kind: string;
  text: string;
  advice: string;
  wrong: boolean;
}

export interface Backup {
  id: string;
  name: string;
  bytes: number;
  created_at: string;
}

export interface ModelEntry {
  name: string;
  here: boolean;
  bytes: number | null;
  photos: number;
  /** Photos that it would still have to encode. */
  waiting: number;
  languages: string[];
  answering: boolean;
}

export interface Token {
  id: number;
  name: string;
  role: "view" | "edit" | "admin";
  created_at: string;
  used_at: string | null;
  current: boolean;
}

export interface Share {
  id: number;
  name: string | null;
  album_id: number | null;
  photos: number;
  created_at: string;
  expires_at: string;
  expired: boolean;
}

export interface SharedPhoto {
  id: number;
  kind: string;
  width: number;
  height: number;
  taken_at: string | null;
  duration: number | null;
}

export interface Shared {
  name: string | null;
  expires_at: string;
  photos: SharedPhoto[];
}

/** A thing in a photo; box and area in pixels of the upright original. */
export interface CutMask {
  box: [number, number, number, number];
  area: number;
  quality: number;
  stability: number;
  level: "part" | "object" | "whole" | null;
  label: string | null;
  score: number | null;
  /** SVG path in pixels of the answer's width and height, rule evenodd. */
  outline: string;
}

export interface CutAnswer {
  width: number;
  height: number;
  masks: CutMask[];
  best: number | null;
  took: number;
}

/** What was pointed at, in pixels of the upright original: a box, words or the first point, then points that refine it. */
export interface CutPrompt {
  /** x, y and 1 for a point on the thing, 0 for one that is not. */
  points: [number, number, 0 | 1][];
  /** Left, top, right, bottom. */
  box: [number, number, number, number] | null;
  words: string | null;
  all: boolean;
  /** Which answer to the start is meant; null: the best, or with `all` all of them. */
  choice: number | null;
}

/** The model that answers; `problem` and `detail` say why it cannot. */
export interface AskModel {
  model: string;
  problem: string | null;
  detail: string | null;
  languages: string[];
  most_photos: number;
  most_letters: number;
  conversation: boolean;
}

/** How one photo or film is shown to the model. */
export interface AskPlan {
  name: string;
  kind: "image" | "video";
  policy: string;
  /** Width and height of each. */
  views: [number, number][];
  tokens: number;
  frames: number;
  /** Share of the pixels that are picture. */
  useful: number;
  text: string;
}

export interface AskShown {
  model: string;
  plans: AskPlan[];
  tokens: { prompt: number; pictures: number; places: number; context: number; budget: number | null };
  notes: string[];
}

/** A place in pixels of the upright original, or of the frame of a film. */
export interface AskBox {
  box: [number, number, number, number];
  label: string;
}

/** Where it looked: bytes from 0 (least) to 255 (most) in base64, row by row, over the part that it covers. */
export interface AskLook {
  part: "tower" | "connector" | "answer";
  name: string;
  layer: number;
  rows: number;
  columns: number;
  map: string;
  covers: [number, number, number, number];
}

export interface AskAnswer extends AskShown {
  text: string;
  ended: string;
  boxes: AskBox[];
  looks: AskLook[];
  /** Id of the photo that boxes and maps are on. */
  photo: number | null;
  /** That frame of a film that they are on. */
  frame: { image: string; width: number; height: number; name: string } | null;
  written: number;
  reused: number;
  seconds: number;
  line: string;
}
