// The words of the page, by the browser's language. English is in the code, and the key of the other two.
const LANGUAGES = { ko: async () => (await import('./words.ko.js')).ko, ja: async () => (await import('./words.ja.js')).ja };

export const language = (navigator.languages ?? [navigator.language])
  .map((each) => each.slice(0, 2)).find((each) => each === 'en' || each in LANGUAGES) ?? 'en';

const words = language in LANGUAGES ? await LANGUAGES[language]() : {};

/** A text in the reader's language; `{name}` in it becomes what `values` says. */
export function t(english, values = {}) {
  return (words[english] ?? english).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

const numbers = new Intl.NumberFormat(language);
export const number = (value) => numbers.format(value);

/** Seconds as people say them. */
export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 60) return `${Math.round(value)} s`;
  return value < 3600 ? `${Math.floor(value / 60)} min` : `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
}

export function bytes(value) {
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(0)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
