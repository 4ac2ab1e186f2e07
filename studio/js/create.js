// One box: words draw, a picture with words is edited, a picture alone is varied, several are looked at together.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { getJson } from './api.js';
import { changing, drawing } from './examples.js';
import { bringBack, forget, made } from './history.js';
import { dismiss, jobs, resume, retry, run, stop } from './making.js';
import { MaskPainter } from './mask.js';
import { Options } from './options.js';
import { parametersOf } from './parameters.js';
import { Bar, Code, Drop, Files, isPicture, isSound, Picture, save, Wrong } from './parts.js';
import { Recorder } from './recorder.js';
import { handOver, models, toast, useCell, useDraft, useHandedOver } from './store.js';
import { seconds, t } from './words.js';

const TRY = [
  'a cat in space', 'a cute dog on the beach', 'a big red heart on a white background',
  '우주에 있는 로켓', 'かわいい犬の絵を描いて', 'an owl in the forest at night',
];
const empty = {
  model: '', size: '', steps: '', guidance: '', seed: '', n: '1', negative_prompt: '', quality: '', strength: '', loras: {}, embeds: true,
};
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

export function Create() {
  const all = useCell(models);
  const history = useCell(made);
  const working = useCell(jobs);
  const [prompt, setPrompt] = useDraft('prompt');
  const [options, setOptions] = useState(() => ({ ...empty, ...JSON.parse(sessionStorage.getItem('draft:options') ?? '{}') }));
  const [given, setGiven] = useState([]);
  const [mask, setMask] = useState(null);
  const [painting, setPainting] = useState(false);
  const [found, setFound] = useState(null); // what the given picture says that it was made of
  const [error, setError] = useState(null);
  const box = useRef();
  const drawers = all.filter((each) => each.kind === 'image');
  const model = drawers.find((each) => each.id === options.model) ?? drawers[0];
  const listener = all.find((each) => each.capabilities.includes('transcribe'));
  const can = (what) => !model || model.capabilities.includes(what);

  useEffect(() => { sessionStorage.setItem('draft:options', JSON.stringify(options)); }, [options]);
  useEffect(() => {
    setMask(null);
    setPainting(false);
    setFound(null);
    let isOld = false;
    if (given.length === 1) parametersOf(given[0]).then((told) => !isOld && setFound(told));
    return () => { isOld = true; };
  }, [given]);
  useEffect(() => { resume(); }, []);
  useHandedOver('create', ({ files, prompt: words, options: chosen }) => {
    if (files) setGiven(files);
    if (words !== undefined) setPrompt(words);
    if (chosen) setOptions({ ...empty, ...chosen });
    box.current?.focus();
  });

  function take(files) {
    const sound = files.find(isSound);
    if (sound) return handOver('speak', { files: [sound] });
    const pictures = files.filter(isPicture);
    if (pictures.length < files.length) toast(t('Only pictures and sounds can be used here.'));
    if (pictures.length) setGiven((before) => [...before, ...pictures].slice(0, 32));
    return undefined;
  }

  const body = (extra = {}) => {
    const sent = model ? { model: model.id } : {}; // before the list of models is there, the server's default draws
    if (prompt.trim()) sent.prompt = prompt.trim();
    for (const name of ['size', 'negative_prompt', 'quality']) if (options[name]) sent[name] = options[name];
    for (const name of ['steps', 'guidance', 'n']) if (options[name] !== '') sent[name] = Number(options[name]);
    sent.seed = options.seed === '' ? randomSeed() : Number(options.seed); // chosen here: the same can be asked for again
    const loras = Object.entries(options.loras).filter(([, weight]) => weight !== '').map(([name, weight]) => ({ name, weight: Number(weight) }));
    if (loras.length) sent.loras = loras;
    if (options.embeds) sent.embed_parameters = true;
    if (sent.n === 1) delete sent.n;
    return { ...sent, ...extra };
  };

  const go = (action) => {
    setError(null);
    const strength = options.strength === '' ? {} : { strength: Number(options.strength) };
    if (action === 'draw') return run({ route: 'generations', sent: body() });
    if (action === 'edit') return run({ route: 'edits', sent: body(strength), before: given[0], mask });
    const { prompt: _, negative_prompt: __, ...sent } = body(strength);
    return run({ route: 'variations', sent, before: given[0] });
  };

  /** The settings of a picture, as far as they can be used here. */
  function use({ prompt: words = '', model: alias, checkpoint, loras = [], ...told }) {
    const known = drawers.find((each) => each.id === alias || (checkpoint && each.checkpoint === checkpoint)) ?? model;
    const chosen = { ...empty, model: known?.id ?? '' };
    for (const name of ['size', 'steps', 'guidance', 'seed', 'negative_prompt', 'strength']) if (told[name] !== undefined) chosen[name] = String(told[name]);
    chosen.loras = Object.fromEntries(loras.filter((each) => known?.limits.loras?.includes(each.name)).map((each) => [each.name, String(each.weight)]));
    setOptions(chosen);
    setPrompt(words);
    setGiven([]);
    box.current.focus();
  }

  async function dictate(sound) {
    const form = new FormData();
    form.append('file', sound, sound.name);
    form.append('model', listener.id);
    try {
      const { text } = await getJson('v1/audio/transcriptions', { form });
      setPrompt(`${prompt} ${text}`.trim());
    } catch (failed) { setError(failed); }
  }

  const remove = async (entry) => { await forget(entry.id); toast(t('Deleted'), { label: t('Undo'), run: () => bringBack(entry) }); };

  const words = Boolean(prompt.trim());
  const actions = !given.length ? [words && ['draw', t('Draw')]]
    : given.length === 1 ? [words ? ['edit', mask ? t('Change what is painted') : t('Edit')] : ['vary', t('Vary')]]
    : [words && can('image.edit') && (model?.limits.max_images ?? 1) > 1 && ['edit', t('Edit')]];

  return html`<header><h1>${t('What shall it be?')}</h1></header>
    <${Drop} take=${take} class="sheet prompt">
      ${given.length > 0 && html`<div class="given">${given.map((file, i) => html`<figure key=${i}><${Picture} blob=${file} alt=${file.name ?? t('a picture')} />
        <button aria-label=${t('Remove this picture')} onClick=${() => setGiven(given.filter((_, j) => j !== i))}>×</button></figure>`)}</div>`}
      ${found && html`<div class="note settings"><span class="words">${found.prompt ? t('Made with: {words}', { words: found.prompt }) : t('This picture tells what it was made of.')}</span>
        <button onClick=${() => use(found)}>${t('Use its settings')}</button></div>`}
      <label class="unseen" for="prompt">${t('Prompt')}</label>
      <textarea id="prompt" ref=${box} rows="3" value=${prompt} placeholder=${given.length ? t('What should change? Or nothing, for a variation.') : t('Describe a picture, or drop one here')}
        onInput=${(e) => setPrompt(e.target.value)} onKeyDown=${(e) => { if (e.key === 'Enter' && !e.shiftKey && !e.isComposing && actions[0]) { e.preventDefault(); go(actions[0][0]); } }}></textarea>
      <div class="foot">
        <${Files} accept="image/*,audio/*" multiple take=${take}>${t('Add a picture')}<//>
        ${listener && html`<${Recorder} take=${dictate} label=${t('Dictate')} />`}
        ${given.length === 1 && can('image.mask') && html`<button aria-pressed=${painting} onClick=${() => setPainting(!painting)}>${t('Paint a mask')}</button>`}
        ${given.length === 1 && html`<button onClick=${() => handOver('look', { files: given })}>${t('Describe')}</button>
          <button onClick=${() => handOver('find', { files: given })}>${t('Find similar')}</button>`}
        ${given.length > 1 && html`<button onClick=${() => handOver('look', { files: given })}>${t('Caption each')}</button>
          <button onClick=${() => handOver('chat', { files: given, prompt: prompt || t('What is different in these pictures?') })}>${t('Compare')}</button>`}
        <div class="go">${actions.filter(Boolean).map(([name, label]) => html`<button class="main" key=${name} onClick=${() => go(name)}>${label}</button>`)}
          ${!given.length && !words && html`<button class="main" disabled>${t('Draw')}</button>`}</div>
      </div>
      ${painting && given[0] && html`<${MaskPainter} file=${given[0]} done=${(blob) => { setMask(blob); setPainting(false); }} />`}
      <details class="options"><summary>${t('Options')}${model ? ` · ${model.id}` : ''}</summary><${Options} ...${{ options, setOptions, empty, drawers, model, given }} /></details>
    <//>
    <${Wrong} error=${error} />
    ${!history.length && !working.length && html`<div class="empty"><p>${t('Try one of these, or write your own.')}</p>
      <div class="chips">${TRY.map((each) => html`<button class="chip" onClick=${() => { setPrompt(each); box.current.focus(); }}>${each}</button>`)}</div></div>`}
    <div class="results" aria-live="polite">
      ${working.map((job) => html`<${Working} key=${job.key} job=${job} />`)}
      ${history.map((entry) => html`<${Result} key=${entry.id} entry=${entry} remove=${() => remove(entry)} />`)}
    </div>`;
}

function Working({ job }) {
  const { sent, before } = job.work;
  const partial = Object.values(job.partials).at(-1) ?? before;
  const line = job.error ? null : job.state === 'running'
    ? t('Step {step} of {steps}', { step: job.step ?? 0, steps: job.steps ?? '…' }) : job.waits ?? t('Waiting');
  return html`<article class="sheet result" aria-busy=${!job.error}>
    <div class="frame">${partial ? html`<${Picture} blob=${partial} alt=${t('the picture so far')} class="partial" />` : html`<span class="soft">${line}</span>`}</div>
    <div class="text"><p class="words">${sent.prompt ?? t('a variation')}</p>
      ${job.error ? html`<${Wrong} error=${job.error} retry=${() => retry(job)} /><button class="quiet" onClick=${() => dismiss(job)}>${t('Close')}</button>`
        : html`<${Bar} share=${job.state === 'running' ? job.progress : null} label=${t('Progress')} />
          <div class="row apart"><span class="soft">${line}</span><button class="danger" onClick=${() => stop(job)}>${t('Stop')}</button></div>`}
    </div></article>`;
}

function Result({ entry, remove }) {
  const [cut, setCut] = useState(50);
  const file = () => new File([entry.blob], 'picture.png', { type: entry.blob.type });
  const again = (extra) => run({ route: entry.route, sent: { ...entry.sent, ...extra }, before: entry.before });
  const label = entry.sent.prompt ?? t('a variation');
  const snippets = entry.route === 'generations' ? drawing({ ...entry.sent, seed: entry.seed })
    : changing(entry.route, { ...entry.sent, seed: entry.seed }, entry.mask);
  return html`<article class="sheet result">
    <div class="frame" style=${{ '--cut': `${cut}%` }}><${Picture} blob=${entry.blob} alt=${label} />
      ${entry.before && html`<div class="before"><${Picture} blob=${entry.before} alt=${t('before')} /></div>
        <input type="range" min="0" max="100" value=${cut} aria-label=${t('Before and after')} onInput=${(e) => setCut(e.target.value)} />`}</div>
    <div class="text"><p class="words">${label}</p>
      <p class="soft">${entry.size} · ${t('seed')} ${entry.seed} · ${entry.sent.model} · ${seconds(entry.seconds)}</p>
      <div class="row">
        <button onClick=${() => again({ seed: randomSeed(), n: 1 })}>${t('Another')}</button>
        <button onClick=${() => handOver('create', { files: [file()], prompt: '' })}>${t('Edit this')}</button>
        <button onClick=${() => save(entry.blob, `atelier-${entry.seed}.${entry.blob.type.split('/')[1]}`)}>${t('Download')}</button>
      </div>
      <details><summary>${t('More')}</summary><div class="row">
        <button onClick=${() => handOver('create', { files: entry.before ? [entry.before] : [], prompt: entry.sent.prompt ?? '', options: optionsOf(entry) })}>${t('Same seed')}</button>
        <button onClick=${() => run({ route: 'variations', sent: { ...(entry.sent.model && { model: entry.sent.model }), seed: randomSeed() }, before: file() })}>${t('Vary')}</button>
        <button onClick=${() => handOver('look', { files: [file()] })}>${t('Describe')}</button>
        <button onClick=${() => handOver('find', { files: [file()] })}>${t('Find similar')}</button>
        <button class="quiet danger" onClick=${remove}>${t('Delete')}</button>
      </div></details>
      <${Code} examples=${snippets} /></div></article>`;
}

/** The options by which a result was made, as their fields hold them. */
function optionsOf({ sent: { prompt, loras = [], embed_parameters: embeds = false, ...sent }, seed }) {
  const texts = Object.fromEntries(Object.entries(sent).map(([name, value]) => [name, String(value)]));
  return { ...texts, seed: String(seed), n: '1', embeds, loras: Object.fromEntries(loras.map((each) => [each.name, String(each.weight)])) };
}
