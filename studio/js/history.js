// What was made, kept in this browser: pictures with what they were made of. Newest first.
import { cell } from './store.js';

const MOST = 200;
export const made = cell([]);

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open('atelier-studio', 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore('made', { keyPath: 'id' });
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return opened;
}

async function within(mode, work) {
  try {
    const store = (await database()).transaction('made', mode).objectStore('made');
    return await new Promise((resolve, reject) => {
      const asked = work(store);
      asked.onsuccess = () => resolve(asked.result);
      asked.onerror = () => reject(asked.error);
    });
  } catch (error) {
    console.warn('the history is not kept:', error); // a private window may have no storage
    return null;
  }
}

/** Read what earlier visits made. */
export async function readHistory() {
  const all = (await within('readonly', (store) => store.getAll())) ?? [];
  made.set((now) => [...now, ...all.filter((each) => !now.some((other) => other.id === each.id))].sort((a, b) => b.at - a.at));
}

/** Keep a result: `{blob, sent, route, seed, before?, seconds}`. */
export async function keep(result) {
  const entry = { ...result, id: crypto.getRandomValues(new Uint32Array(2)).join('-'), at: Date.now() };
  made.set((all) => [entry, ...all]);
  await within('readwrite', (store) => store.put(entry));
  for (const old of made.value.slice(MOST)) await forget(old.id);
  return entry;
}

export async function forget(id) {
  made.set((all) => all.filter((each) => each.id !== id));
  await within('readwrite', (store) => store.delete(id));
}

export async function bringBack(entry) {
  made.set((all) => [...all, entry].sort((a, b) => b.at - a.at));
  await within('readwrite', (store) => store.put(entry));
}
