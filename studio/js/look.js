// What is in pictures: six tasks on one, captions and tags of many.
import { html, useEffect, useState } from '../vendor/preact-htm.js';
import { call, dataUrl, getJson } from './api.js';
import { Drop, Files, isPicture, Picture, Wrong } from './parts.js';
import { models, toast, useCell, useHandedOver } from './store.js';
import { t } from './words.js';

const AT_ONCE = 8;
const TASKS = { caption: 'Caption', ocr: 'Read the text', describe: 'Describe', analyze: 'Analyse', objects: 'List the objects' };
const nameOf = (task) => (TASKS[task] ? t(TASKS[task]) : task);

export function Look({ isShown }) {
  const all = useCell(models).filter((each) => each.capabilities.includes('caption'));
  const [files, setFiles] = useState([]);
  const [tasks, setTasks] = useState([]);
  const [captioner, setCaptioner] = useState('');
  const [prompt, setPrompt] = useState('');
  const [flag, setFlag] = useState('');
  const [question, setQuestion] = useState('');
  const [answers, setAnswers] = useState([]);
  const [captions, setCaptions] = useState({});
  const [together, setTogether] = useState(null);
  const [busy, setBusy] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => { if (isShown && !tasks.length) getJson('v1/vision/tasks').then((found) => setTasks(found.tasks), setError); }, [isShown]);
  const take = (more) => {
    const pictures = more.filter(isPicture);
    if (pictures.length < more.length) toast(t('Only pictures can be used here.'));
    setFiles((now) => [...now, ...pictures]);
  };
  useHandedOver('look', (given) => { setFiles(given.files); setAnswers([]); setCaptions({}); setTogether(null); });

  const working = async (label, work) => {
    setBusy(label);
    setError(null);
    try { await work(); } catch (failed) { setError(failed); } finally { setBusy(null); }
  };
  const analyse = (task) => working(task, async () => {
    const json = { image: await dataUrl(files[0]), task, ...(task === 'custom' ? { prompt: question } : {}) };
    const found = await getJson('v1/vision/analyze', { json });
    setAnswers((now) => [{ task, question: task === 'custom' ? question : null, ...found }, ...now]);
  });
  const query = () => {
    const asked = new URLSearchParams();
    if (captioner || all.length) asked.set('model', captioner || all[0].id);
    if (prompt.trim()) asked.set('caption_prompt', prompt.trim());
    if (flag.trim()) asked.set('flag_caption_prompt', flag.trim());
    return asked;
  };
  const form = (some) => { const body = new FormData(); some.forEach((file) => body.append('images', file, file.name ?? 'picture.png')); return body; };
  const captionEach = () => working('captions', async () => {
    for (let i = 0; i < files.length; i += AT_ONCE) {
      const found = await getJson(`api/caption-images?${query()}`, { form: form(files.slice(i, i + AT_ONCE)) });
      setCaptions((now) => ({ ...now, ...Object.fromEntries(found.results.map((each, j) => [i + j, each])) }));
    }
  });
  const captionAll = () => working('together', async () => setTogether(await getJson(`api/caption-collective-images?${query()}`, { form: form(files.slice(0, 32)) })));

  return html`<header><h1>${t('Look')}</h1><p class="lead">${t('Ask what is in one picture, or caption many.')}</p></header>
    <${Drop} take=${take} class="sheet">
      <div class="row apart"><${Files} accept="image/*" multiple take=${take}>${t('Choose pictures')}<//>
        ${files.length > 0 && html`<button class="quiet" onClick=${() => { setFiles([]); setAnswers([]); setCaptions({}); setTogether(null); }}>${t('Clear')}</button>`}</div>
      ${!files.length && html`<p class="empty">${t('Drop one picture or many here.')}</p>`}
      ${files.length === 1 && html`<div class="given"><figure><${Picture} blob=${files[0]} alt=${files[0].name ?? t('a picture')} /></figure></div>
        <div class="row" role="group" aria-label=${t('Tasks')}>${tasks.filter((each) => each.id !== 'custom').map((each) => html`<button title=${each.description} disabled=${busy} onClick=${() => analyse(each.id)}>${nameOf(each.id)}</button>`)}</div>
        <form class="row" onSubmit=${(e) => { e.preventDefault(); if (question.trim()) analyse('custom'); }}>
          <label class="unseen" for="question">${t('Your own question')}</label><input id="question" style=${{ flex: '1 1 14rem' }} placeholder=${t('Your own question')} value=${question} onInput=${(e) => setQuestion(e.target.value)} />
          <button disabled=${busy || !question.trim()}>${t('Ask')}</button></form>`}
      ${files.length > 0 && html`<details open=${files.length > 1}><summary>${t('Captions and tags')}</summary><div class="grid">
        <label>${t('Captioner')}<select value=${captioner || all[0]?.id} onChange=${(e) => setCaptioner(e.target.value)}>${all.map((each) => html`<option value=${each.id}>${each.id}</option>`)}</select></label>
        <label>${t('Prompt')}<input value=${prompt} placeholder=${t('the model’s own')} onInput=${(e) => setPrompt(e.target.value)} /></label>
        <label>${t('Flag when')}<input value=${flag} placeholder=${t('a yes-or-no question')} onInput=${(e) => setFlag(e.target.value)} /></label>
        <button class="main" disabled=${busy} onClick=${captionEach}>${t('Caption each')}</button>
        ${files.length > 1 && html`<button disabled=${busy} onClick=${captionAll}>${t('One caption for all')}</button>`}</div></details>`}
    <//>
    ${busy && html`<p class="soft" role="status">${t('Looking…')}</p>`}
    <${Wrong} error=${error} />
    ${together && html`<article class="sheet"><h2>${t('All together')}</h2><p>${together.collective_caption}</p><${Tags} tags=${together.tags} /></article>`}
    ${Object.keys(captions).length > 0 && html`<div class="results">${files.map((file, i) => captions[i] && html`<article class="sheet result" key=${i}>
      <div class="frame"><${Picture} blob=${file} alt=${captions[i].caption} /></div><div class="text"><p>${captions[i].caption}</p>
      <p class="soft">${file.name}${captions[i].cache ? ` · ${t('remembered')}` : ''}${captions[i].flagged ? ` · ${t('flagged')}` : ''}</p><${Tags} tags=${captions[i].tags} /></div></article>`)}</div>`}
    ${answers.map((each) => html`<article class="sheet" key=${each.created + each.task}><div class="row apart"><h2>${each.question ?? nameOf(each.task)}</h2><span class="soft">${each.model} · ${each.usage.latency.toFixed(1)} s</span></div>
      <p style=${{ whiteSpace: 'pre-wrap' }}>${each.result || t('Nothing was found.')}</p>${each.objects && html`<${Tags} tags=${each.objects} />`}</article>`)}`;
}

const Tags = ({ tags }) => html`<div class="chips">${tags.map((each) => html`<span class="chip tag">${each.replaceAll?.('_', ' ') ?? String(each)}</span>`)}</div>`;
