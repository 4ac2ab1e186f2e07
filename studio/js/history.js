// What was made, kept in this browser: pictures with what they were made of. Newest first.
import { cell } from './store.js';

const MOST = 200;
export const made = cell([]);

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const asked = indexedDB.open('atelier-studio', 2);
    asked.onupgradeneeded = () => {
      for (const name of ['made', 'under way']) {
        if (!asked.result.objectStoreNames.contains(name)) asked.result.createObjectStore(name, { keyPath: 'id' });
      }
    };
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
  return opened;
}

async function within(mode, work, name = 'made') {
  try {
    const store = (await database()).transaction(name, mode).objectStore(name);
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

/** Keep a result: `{id, blob, sent, route, seed, before?, seconds}`. The same again is kept once. */
export async function keep(result) {
  const entry = { ...result, at: Date.now() };
  made.set((all) => (all.some((each) => each.id === entry.id) ? all : [entry, ...all]));
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

/** What is asked for, until it is made: a tab that is reloaded finds its own again. */
export const remember = (work) => within('readwrite', (store) => store.put({ ...work, at: Date.now() }), 'under way');
export const recall = (id) => within('readonly', (store) => store.get(id), 'under way');
export const forgetWork = (id) => within('readwrite', (store) => store.delete(id), 'under way');

/** Forget what tabs that were closed have left: the server keeps no job so long. */
export async function tidy() {
  const all = (await within('readonly', (store) => store.getAll(), 'under way')) ?? [];
  await Promise.all(all.filter((each) => each.at < Date.now() - 86_400_000).map((each) => forgetWork(each.id)));
}
