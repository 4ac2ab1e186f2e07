// The shell of the page: its rooms, the dialog that asks for a key, and what the server says of itself.
import { html, render, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { address, apiKey, getJson, isAway, keyWanted, setKey, untilBack } from './api.js';
import { Chat } from './chat.js';
import { Create } from './create.js';
import { Find } from './find.js';
import { readHistory } from './history.js';
import { Look } from './look.js';
import { Icon } from './parts.js';
import { Speak } from './speak.js';
import { dismiss, models, toasts, useCell } from './store.js';
import { System } from './system.js';
import { language, t } from './words.js';

const ROOMS = { create: Create, chat: Chat, look: Look, find: Find, speak: Speak, system: System };
const NAMES = { create: 'Create', chat: 'Chat', look: 'Look', find: 'Find', speak: 'Speak', system: 'System' };
const here = () => (location.hash.slice(1) in ROOMS ? location.hash.slice(1) : 'create');

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
        ${Object.keys(ROOMS).map((name) => html`<a class="room" href="#${name}" aria-current=${name === room ? 'page' : undefined}>
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
          <${ROOMS[name]} isShown=${name === room} /></section>`)}
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
