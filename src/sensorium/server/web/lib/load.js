import { useEffect, useState } from "../vendor/preact.js";

/**
 * @template T
 * @typedef {{ data: T | null, error: unknown, loading: boolean, reload: () => void }} Loaded
 */

/**
 * Loads something when a component appears and whenever `depends` changes; an older answer never overwrites
 * a newer one, and what was loaded stays visible while it is loaded again.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} load
 * @param {readonly unknown[]} depends
 * @returns {Loaded<T>}
 */
export function useLoad(load, depends) {
  const [state, setState] = useState(/** @type {{ data: T | null, error: unknown, loading: boolean }} */ (
    { data: null, error: null, loading: true }));
  const [round, setRound] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    setState((before) => ({ ...before, error: null, loading: true }));
    load(stop.signal).then(
      (data) => { if (!stop.signal.aborted) setState({ data, error: null, loading: false }); },
      (error) => { if (!stop.signal.aborted) setState((before) => ({ ...before, error, loading: false })); },
    );
    return () => stop.abort();
  }, [...depends, round]);
  return { ...state, reload: () => setRound((before) => before + 1) };
}
