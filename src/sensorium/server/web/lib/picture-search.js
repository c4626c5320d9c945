// Searching by a picture: one that is dropped, pasted or chosen, from the disk or from the page itself.

import { api } from "./api.js";
import { t } from "./i18n.js";
import { navigate, route } from "./router.js";
import { readSearch, searchAddress } from "./search-state.js";
import { toast, toastError } from "../parts/toast.js";

/** @import { QueryDocument, Term } from "./types.js" */

const LARGEST = 50 * 1000 * 1000;

/** The query of the answer that is shown, to which terms are added. @type {{ current: QueryDocument | null }} */
export const answered = { current: null };

/**
 * Goes on from the search that is open with one more term; without one it begins with it.
 * @param {Term} term
 */
export function addTerm(term) {
  const open = route.peek().parts[0] === "search";
  const state = open ? readSearch(route.peek().query) : null;
  if (!state) navigate(searchAddress({ terms: [term] }));
  // The answered query holds the earlier terms already.
  else if (answered.current) navigate(searchAddress({ ...state, query: answered.current, terms: [term] }));
  else navigate(searchAddress({ ...state, terms: [...state.terms, term] }));
}

/**
 * Uploads a picture and searches by it, beside what is searched for already.
 * @param {Blob | null | undefined} file
 */
export async function searchByFile(file) {
  if (!file) return;
  if (file.size > LARGEST) {
    toast(t("error.body_too_large"), { kind: "error" });
    return;
  }
  try {
    const { upload_id: upload } = await api.post("/search/image", file, {
      headers: { "Content-Type": file.type.startsWith("image/") ? file.type : "application/octet-stream" },
    });
    addTerm({ upload_id: upload, weight: 1 });
  } catch (error) {
    toastError(error);
  }
}
