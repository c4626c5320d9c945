export * from "preact";
export * from "preact/hooks";
export * from "@preact/signals";
import type { VNode } from "preact";
/** A template of htm, bound to Preact. */
export const html: (strings: TemplateStringsArray, ...values: any[]) => VNode;
