// Small parts that every room uses.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { toast } from './store.js';
import { t } from './words.js';

const PATHS = {
  create: 'M4 20l4-1L19 8l-3-3L5 16zM14 7l3 3',
  chat: 'M4 5h16v11H9l-5 4z',
  look: 'M2 12s4-7 10-7 10 7 10 7-4 7-10 7S2 12 2 12zM12 9a3 3 0 110 6 3 3 0 010-6',
  find: 'M10 4a6 6 0 110 12 6 6 0 010-12zM15 15l5 5',
  speak: 'M5 10v4M9 6v12M13 9v6M17 4v16M21 10v4',
  system: 'M4 6h16M4 12h16M4 18h16M8 4v4M15 10v4M11 16v4',
};

export const Icon = ({ name }) => html`<svg viewBox="0 0 24 24" aria-hidden="true" fill="none" stroke="currentColor"
  stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"><path d=${PATHS[name]} /></svg>`;

/** A sentence where something went wrong, and what can be done about it. */
export const Wrong = ({ error, retry }) => error && html`<div class="note wrong" role="alert"><span>${error.message}</span>
  ${retry && html`<button onClick=${retry}>${t('Try again')}</button>`}</div>`;

/** A bar of a share from 0 to 1; without one it only says that something goes on. */
export const Bar = ({ share, label }) => html`<div class=${share == null ? 'bar waiting' : 'bar'} role="progressbar" aria-label=${label}
  aria-valuemin="0" aria-valuemax="100" aria-valuenow=${share == null ? undefined : Math.round(share * 100)}>
  <i style=${share == null ? {} : { width: `${share * 100}%` }}></i></div>`;

/** Opens the file chooser; `take` gets a list of files. */
export function Files({ accept, multiple = false, take, children, id }) {
  const input = useRef();
  return html`<button type="button" onClick=${() => input.current.click()}>${children}</button>
    <input ref=${input} id=${id} type="file" class="unseen" tabindex="-1" aria-hidden="true" accept=${accept} multiple=${multiple}
      onChange=${(event) => { take([...event.target.files]); event.target.value = ''; }} />`;
}

/** A place onto which files may be dropped, and into which pictures may be pasted. */
export function Drop({ take, class: name = '', children }) {
  const [over, setOver] = useState(false);
  const files = (source) => [...(source?.files ?? [])];
  return html`<div class=${`${name} ${over ? 'over' : ''}`}
    onDragOver=${(event) => { event.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)}
    onDrop=${(event) => { event.preventDefault(); setOver(false); take(files(event.dataTransfer)); }}
    onPaste=${(event) => { const pasted = files(event.clipboardData); if (pasted.length) { event.preventDefault(); take(pasted); } }}>
    ${children}</div>`;
}

/** An image of a blob. */
export function Picture({ blob, alt = '', ...rest }) {
  const [url, setUrl] = useState(null);
  useEffect(() => {
    if (!blob) return undefined;
    const made = URL.createObjectURL(blob);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return url && html`<img src=${url} alt=${alt} ...${rest} />`;
}

/** Hand a file to the reader's own disk. */
export function save(blob, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** The call that made a result, as people would write it: `examples` is [[language, text], …]. */
export function Code({ examples }) {
  const [shown, setShown] = useState(0);
  const copy = async () => {
    await navigator.clipboard.writeText(examples[shown][1]);
    toast(t('Copied'));
  };
  return html`<details class="code"><summary>${t('As code')}</summary>
    <div class="row apart"><div class="chips" role="group" aria-label=${t('Language')}>${examples.map(([name], i) => html`
      <button class="chip" aria-pressed=${i === shown} onClick=${() => setShown(i)}>${name}</button>`)}</div>
      <button class="quiet" onClick=${copy}>${t('Copy')}</button></div>
    <pre tabindex="0" data-language=${examples[shown][0]}>${examples[shown][1]}</pre></details>`;
}

export const isPicture = (file) => file.type.startsWith('image/') || /\.(png|jpe?g|webp|gif|bmp)$/i.test(file.name);
export const isSound = (file) => file.type.startsWith('audio/') || file.type === 'video/webm' || /\.(mp3|wav|flac|ogg|m4a|aac|webm)$/i.test(file.name);
