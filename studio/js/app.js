// The shell of the page: its rooms, the dialog that asks for a key, and what the server says of itself.
import { html, render, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { address, apiKey, getJson, isAway, keyWanted, setKey, untilBack } from './api.js';
import { Create } from './create.js';
import { readHistory } from './history.js';
import { Icon, Wrong } from './parts.js';
import { cell, dismiss, models, toasts, useCell } from './store.js';
import { language, t } from './words.js';

// The first room is there with the page; the others come when they are opened, or once nothing else is to be done.
const LATER = {
  chat: async () => (await import('./chat.js')).Chat, look: async () => (await import('./look.js')).Look,
  find: async () => (await import('./find.js')).Find, speak: async () => (await import('./speak.js')).Speak,
  system: async () => (await import('./system.js')).System,
};
const rooms = cell({ create: Create });
const NAMES = { create: 'Create', chat: 'Chat', look: 'Look', find: 'Find', speak: 'Speak', system: 'System' };
const here = () => (location.hash.slice(1) in NAMES ? location.hash.slice(1) : 'create');

async function open(name) {
  if (rooms.value[name]) return;
  const room = await LATER[name]().catch(() => Missing); // the server is away, or has another page by now
  rooms.set((all) => (all[name] ? all : { ...all, [name]: room }));
}

const Missing = () => html`<${Wrong} error=${{ message: t('This part of the page could not be loaded.') }} retry=${() => location.reload()} />`;

/** Read the models again; every room takes its choices from them. */
export async function readModels() {
  try {
    models.set((await getJson('v1/models')).data);
    keyWanted.set(null);
  } catch (error) {
    if (error.code !== 'offline' && error.status !== 401) console.warn(error);
  }
}

function Studio() {
  const [room, setRoom] = useState(here());
  const away = useCell(isAway);
  const wanted = useCell(keyWanted);
  const main = useRef();
  const there = useCell(rooms);
  useEffect(() => { open(room); }, [room]);
  useEffect(() => {
    const others = () => Object.keys(LATER).forEach(open);
    if ('requestIdleCallback' in window) requestIdleCallback(others, { timeout: 3000 });
    else setTimeout(others, 1000);
  }, []);
  useEffect(() => {
    const moved = () => { setRoom(here()); main.current.focus({ preventScroll: true }); scrollTo(0, 0); };
    addEventListener('hashchange', moved);
    readModels();
    readHistory();
    return () => removeEventListener('hashchange', moved);
  }, []);
  useEffect(() => {
    if (!away) return undefined;
    const gone = new AbortController();
    untilBack(gone.signal).then(readModels, () => undefined);
    return () => gone.abort();
  }, [away]);
  useEffect(() => { document.title = `${t(NAMES[room])} · Atelier`; }, [room]);
  // Rooms stay where they are when another is looked at: what was typed and what works goes on.
  const [seen, setSeen] = useState([room]);
  useEffect(() => { if (!seen.includes(room)) setSeen([...seen, room]); }, [room]);
  return html`<div class="shell">
      <nav class="rail" aria-label=${t('Rooms')}>
        <a class="skip" href="#content" onClick=${(e) => { e.preventDefault(); main.current.focus(); }}>${t('To the content')}</a>
        <div class="brand"><img src=${new URL('../icon.svg', import.meta.url).href} alt="" />Atelier</div>
        ${Object.keys(NAMES).map((name) => html`<a class="room" href="#${name}" aria-current=${name === room ? 'page' : undefined}>
          <${Icon} name=${name} />${t(NAMES[name])}</a>`)}
        <div class="foot">
          <span class="row"><span class=${away ? 'dot away' : 'dot'}></span>${away ? t('No connection') : t('Connected')}</span>
          ${apiKey() && html`<button class="quiet" onClick=${() => { setKey(''); location.reload(); }}>${t('Forget the key')}</button>`}
          <a href=${address('docs')}>${t('API description')}</a>
        </div>
      </nav>
      <main id="content" ref=${main} tabindex="-1">
        ${away && html`<div class="note wrong" role="alert">${t('The server does not answer. It is tried again by itself; nothing you typed is lost.')}</div>`}
        ${[...new Set([...seen, room])].map((name) => html`<section key=${name} hidden=${name !== room} class="room-of">
          ${there[name] && html`<${there[name]} isShown=${name === room} />`}</section>`)}
      </main>
    </div>
    <${KeyDialog} why=${wanted} />
    <${Toasts} />`;
}

function KeyDialog({ why }) {
  const dialog = useRef();
  const [value, setValue] = useState('');
  useEffect(() => {
    if (why && !dialog.current.open) dialog.current.showModal();
    if (!why && dialog.current.open) dialog.current.close();
  }, [why]);
  const enter = async (event) => {
    event.preventDefault();
    setKey(value.trim());
    setValue('');
    await readModels();
  };
  return html`<dialog ref=${dialog} aria-labelledby="key-title" onCancel=${() => keyWanted.set(null)}>
    <form onSubmit=${enter}><h2 id="key-title">${t('A key, please')}</h2><p class="soft">${why} ${t('It is kept until this tab is closed, and nowhere else.')}</p>
      <label>${t('API key')}<input type="password" autocomplete="off" value=${value} onInput=${(e) => setValue(e.target.value)} required /></label>
      <div class="row"><button class="main">${t('Go on')}</button>
        <button type="button" class="quiet" onClick=${() => keyWanted.set(null)}>${t('Not now')}</button></div></form></dialog>`;
}

function Toasts() {
  const shown = useCell(toasts);
  return html`<div class="toasts" role="status">${shown.map((each) => html`<div class="toast" key=${each.id}>${each.text}
    ${each.action && html`<button onClick=${() => { each.action.run(); dismiss(each.id); }}>${each.action.label}</button>`}</div>`)}</div>`;
}

document.documentElement.lang = language;
render(html`<${Studio} />`, document.getElementById('studio'));
