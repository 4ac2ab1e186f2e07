// A conversation with pictures, streamed.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { call, dataUrl, events, getJson } from './api.js';
import { talking } from './examples.js';
import { Code, Drop, Files, isPicture, Picture, Wrong } from './parts.js';
import { models, useCell, useDraft, useHandedOver } from './store.js';
import { t } from './words.js';

const talkers = (list) => list.filter((each) => each.capabilities.includes('chat'));
const TRY = ['What do you see?', 'Which colours are in this picture?', 'How many shapes are there?'];

export function Chat() {
  const all = talkers(useCell(models));
  const [model, setModel] = useState('');
  const [words, setWords] = useDraft('chat');
  const [given, setGiven] = useState([]);
  const [turns, setTurns] = useState([]);
  const [stop, setStop] = useState(null);
  const [error, setError] = useState(null);
  const end = useRef();
  const chosen = model || all[0]?.id;
  useHandedOver('chat', ({ files, prompt }) => { setGiven(files ?? []); if (prompt) setWords(prompt); });
  useEffect(() => { end.current?.scrollIntoView({ block: 'nearest' }); }, [turns]);

  const take = (files) => setGiven([...given, ...files.filter(isPicture)].slice(0, 16));

  async function ask(history) {
    const stopper = new AbortController();
    setStop(stopper);
    setError(null);
    let text = '';
    const show = (more) => setTurns([...history, { role: 'assistant', text, ...more }]);
    show({ isWriting: true });
    try {
      // words may be sent before the list is there
      if (!chosen) models.set((await getJson('v1/models', { signal: stopper.signal })).data);
      const asked = chosen ?? talkers(models.value)[0]?.id;
      const messages = await Promise.all(history.map(message));
      const response = await call('v1/chat/completions', { json: { model: asked, messages, stream: true }, signal: stopper.signal });
      for await (const [, told] of events(response)) {
        text += told.choices?.[0]?.delta?.content ?? '';
        show({ isWriting: true });
      }
      show({});
    } catch (failed) {
      if (text) show({ isCut: true });
      else setTurns(history);
      if (failed.name !== 'AbortError') setError(failed);
    } finally {
      setStop(null);
    }
  }

  const say = () => {
    if (!words.trim() || stop) return;
    const history = [...turns, { role: 'user', text: words.trim(), pictures: given }];
    setWords('');
    setGiven([]);
    ask(history);
  };
  const last = turns.findLast((each) => each.role === 'user');

  return html`<header class="row apart"><h1>${t('Chat')}</h1><div class="row">
      <label class="unseen" for="chat-model">${t('Model')}</label><select id="chat-model" value=${chosen} onChange=${(e) => setModel(e.target.value)}>${all.map((each) => html`<option value=${each.id}>${each.id}</option>`)}</select>
      ${turns.length > 0 && html`<button onClick=${() => { stop?.abort(); setTurns([]); }}>${t('New conversation')}</button>`}</div></header>
    ${!turns.length && html`<div class="empty"><p>${t('Ask about a picture: drop it below.')}</p><div class="chips">${TRY.map((each) => html`<button class="chip" onClick=${() => setWords(t(each))}>${t(each)}</button>`)}</div></div>`}
    <div class="talk" aria-live="polite">${turns.map((turn, i) => html`<div key=${i} class=${turn.role === 'user' ? 'turn mine' : 'turn theirs'}>
      ${turn.pictures?.map((file) => html`<${Picture} blob=${file} alt=${file.name ?? t('a picture')} />`)}<div>${turn.text}${turn.isWriting ? ' ▍' : ''}</div>
      ${turn.isCut && html`<span class="soft">${t('stopped')}</span>`}</div>`)}</div>
    <${Wrong} error=${error} retry=${last && (() => ask(turns.slice(0, turns.lastIndexOf(last) + 1)))} />
    <${Drop} take=${take} class="sheet prompt">
      ${given.length > 0 && html`<div class="given">${given.map((file, i) => html`<figure><${Picture} blob=${file} alt=${file.name ?? t('a picture')} />
        <button aria-label=${t('Remove this picture')} onClick=${() => setGiven(given.filter((_, j) => j !== i))}>×</button></figure>`)}</div>`}
      <label class="unseen" for="chat-words">${t('Message')}</label>
      <textarea id="chat-words" rows="2" value=${words} placeholder=${t('Write a message')} onInput=${(e) => setWords(e.target.value)}
        onKeyDown=${(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) { e.preventDefault(); say(); } }}></textarea>
      <div class="foot"><${Files} accept="image/*" multiple take=${take}>${t('Add a picture')}<//>
        <div class="go">${stop ? html`<button class="danger" onClick=${() => stop.abort()}>${t('Stop')}</button>` : html`<button class="main" disabled=${!words.trim()} onClick=${say}>${t('Send')}</button>`}</div></div>
    <//>
    ${last && chosen && html`<${Code} examples=${talking(chosen, last.text, last.pictures?.length)} />`}
    <div ref=${end}></div>`;
}

async function message({ role, text, pictures = [] }) {
  if (!pictures.length) return { role, content: text };
  const shown = await Promise.all(pictures.map(async (file) => ({ type: 'image_url', image_url: { url: await dataUrl(file) } })));
  return { role, content: [...shown, { type: 'text', text }] };
}
