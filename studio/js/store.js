// Values that several parts of the page share, and the hook that draws a part again when one changes.
import { useEffect, useState } from '../vendor/preact-htm.js';

/** A value with subscribers: `value` reads, `set` takes a value or a function of the last one. */
export function cell(value) {
  const listeners = new Set();
  return {
    get value() {
      return value;
    },
    set(next) {
      value = typeof next === 'function' ? next(value) : next;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The value of a cell, kept up to date. */
export function useCell(source) {
  const [, redraw] = useState(0);
  const seen = source.value;
  useEffect(() => {
    const changed = () => redraw((n) => n + 1);
    if (source.value !== seen) changed();
    return source.subscribe(changed);
  }, [source]);
  return seen;
}

/** Like `useState`, for a text that a reload must not lose; of this tab of the browser only. */
export function useDraft(name, initial = '') {
  const [value, setValue] = useState(() => sessionStorage.getItem(`draft:${name}`) ?? initial);
  return [
    value,
    (next) => {
      setValue(next);
      sessionStorage.setItem(`draft:${name}`, next);
    },
  ];
}

/** An object URL of a blob, given back when the part that shows it leaves. */
export function useObjectUrl(blob) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!blob) return setUrl(null);
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url;
}

export const models = cell([]); // of GET /v1/models
export const toasts = cell([]); // {id, text, action: {label, run}}
export const handedOver = cell(null); // {to, files | record, …}: what one room gives to another

let toastNumber = 0;

/** A line at the foot of the page for some seconds, with one thing to do about it. */
export function toast(text, action = null, seconds = 6) {
  const id = ++toastNumber;
  toasts.set((all) => [...all, { id, text, action }]);
  setTimeout(() => dismiss(id), seconds * 1000);
  return id;
}

export function dismiss(id) {
  toasts.set((all) => all.filter((each) => each.id !== id));
}

/** Go to another room, with something in the hands. */
export function handOver(to, things) {
  handedOver.set({ to, ...things });
  location.hash = to;
}

/** Calls `take` with what has been handed over to this room, once. */
export function useHandedOver(room, take) {
  const given = useCell(handedOver);
  useEffect(() => {
    if (given?.to === room) {
      handedOver.set(null);
      take(given);
    }
  }, [given]);
}
