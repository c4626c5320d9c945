// The documents of the API, version 1, as the page reads them.

export type Role = "view" | "edit" | "admin";
export type Language = "en" | "zh";

export interface Session {
  signed_in: boolean;
  role: Role | null;
  needs_sign_in: boolean;
  version: string;
  csrf: string | null;
}

/** Words that the server makes for people, in both languages. */
export type Words = Record<Language, string>;

export interface Month {
  /** "2021-05"; null for photos without a date. */
  month: string | null;
  /** Index of its first photo in `ids`. */
  start: number;
  count: number;
}

/** All photos of a scope, newest first: what the geometry of a grid is made of. */
export interface GridDocument {
  generation: number;
  ids: number[];
  /** Width divided by height, upright. */
  ratios: number[];
  /** Four letters a photo, in the order of `ids`: they change with its content. */
  versions: string;
  months: Month[];
}

export interface Card {
  id: number;
  name: string;
  kind: string;
  /** Changes with the content; part of the address of a thumbnail. */
  version: string;
  width: number;
  height: number;
  taken_at: string | null;
  place: Words | null;
  favourite: boolean;
  hidden: boolean;
  offline: boolean;
  /** Seconds; only of videos. */
  duration: number | null;
}

export interface Hit extends Card {
  score: number;
  why: Words;
  /** Seconds into a video where it was found. */
  moment: number | null;
}

/** A part of an upright picture: shares of its width and height. */
export interface Box {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export interface Face {
  id: number;
  box: Box;
  person: { id: number; name: string | null } | null;
}

export interface Album {
  id: number;
  name: string;
  photos: number;
  cover: number | null;
  created_at: string;
}

export interface Detail extends Card {
  /** Only for those who may edit. */
  path: string | null;
  folder: string;
  size: number;
  format: string;
  camera: string | null;
  lens: string | null;
  latitude: number | null;
  longitude: number | null;
  people: { id: number; name: string | null }[];
  faces: Face[];
  altitude: number | null;
  text: string | null;
  /** `box`: four corners, each [x, y] as shares of the picture. */
  texts: { text: string; box: [number, number][] }[];
  title: string | null;
  caption: string | null;
  keywords: string[];
  rating: number | null;
  albums: { id: number; name: string }[];
  companions: { name: string; kind: string }[];
}

/** `Query.document()` of the Python side: data that is sent back as it came, or without a slot. */
export type QueryDocument = Record<string, unknown>;

export interface Chip {
  id: string;
  slot: string;
  label: Words;
  /** The query without this chip. */
  remove: QueryDocument;
}

export interface Parse {
  query: QueryDocument;
  chips: Chip[];
}

export interface Answer extends Parse {
  hits: Hit[];
  total: number;
  verdict: "found" | "weak" | "nothing";
  closest: Hit[];
  cursor: string | null;
  note: Words | null;
}

/** What is added to (weight > 0) or taken from (weight < 0) a query: exactly one of the three sources. */
export interface Term {
  words?: string;
  photo_id?: number;
  upload_id?: string;
  weight: number;
}

export interface Suggestion {
  /** What to search for. */
  query: Words;
  kind: "look" | "person" | "place" | "year";
  label: Words;
}

export interface Job {
  id: string;
  kind: string;
  state: "running" | "done" | "failed" | "cancelled";
  done: number;
  total: number | null;
  phase: string | null;
  started_at: string | null;
  ended_at: string | null;
  result: any;
  error: { code: string; detail: string } | null;
}

/** application/problem+json */
export interface ProblemDocument {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  code?: string;
  /** Which field of the request was wrong. */
  errors?: { field: string; message: string }[];
}

/** An ordered set of photos that a viewer can walk through. */
export interface PhotoSequence {
  /** How many there are; may grow while more pages of an answer arrive. */
  count(): number;
  idAt(index: number): number;
  indexOf(id: number): number;
  ratioAt(index: number): number;
  versionAt(index: number): string;
  /** Where a video's moment was found, seconds. */
  momentAt?(index: number): number | null;
  /** Called when `index` comes near the end, to fetch more. */
  near?(index: number): void;
}
