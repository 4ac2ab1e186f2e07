// Texts spoken by voices, and voices made of recordings.
import { html, useEffect, useRef, useState } from '../vendor/preact-htm.js';
import { call, getJson } from './api.js';
import { speaking } from './examples.js';
import { Code, Drop, Files, isSound, save, Wrong } from './parts.js';
import { Recorder } from './recorder.js';
import { models, toast, useCell, useDraft, useHandedOver } from './store.js';
import { seconds, t } from './words.js';

const FORMATS = ['wav', 'mp3', 'flac', 'opus', 'aac'];
const LANGUAGES = ['', 'en', 'ko', 'ja', 'zh', 'de', 'fr', 'es'];
const CONSENT = 'I am the owner of this voice and I consent to its use for making a synthetic voice.';

export function Speak({ isShown }) {
  const aliases = useCell(models).filter((each) => each.kind === 'voice');
  const [text, setText] = useDraft('speech');
  const [voices, setVoices] = useState([]);
  const [chosen, setChosen] = useState('');
  const [format, setFormat] = useState('wav');
  const [speed, setSpeed] = useState(1);
  const [language, setLanguage] = useState('');
  const [spoken, setSpoken] = useState([]);
  const [stop, setStop] = useState(null);
  const [error, setError] = useState(null);
  const [sample, setSample] = useState(null);
  useHandedOver('speak', ({ files }) => setSample(files[0]));
  const read = async () => { try { setVoices((await getJson('v1/audio/voices')).data); setError(null); } catch (failed) { setError(failed); } };
  useEffect(() => { if (isShown) read(); }, [isShown]);
  const voice = chosen || voices[0]?.id || voices[0]?.name || 'alloy';

  const sent = () => ({ model: aliases[0]?.id ?? 'tts-1', voice, input: text.trim(), response_format: format, ...(speed === 1 ? {} : { speed }), ...(language ? { language } : {}) });
  async function say(body) {
    const stopper = new AbortController();
    setStop(stopper);
    setError(null);
    const begun = performance.now();
    try {
      const blob = await (await call('v1/audio/speech', { json: body, signal: stopper.signal })).blob();
      setSpoken((now) => [{ body, blob, took: (performance.now() - begun) / 1000 }, ...now]);
    } catch (failed) {
      if (failed.name !== 'AbortError') setError(failed);
    } finally {
      setStop(null);
    }
  }
  const remove = async (each) => {
    try {
      await call(`v1/audio/voices/${each.id}`, { method: 'DELETE' });
      toast(t('Deleted'));
      read();
    } catch (failed) { setError(failed); }
  };
  const own = voices.filter((each) => each.consent !== undefined);
  const nameOf = (each) => each.name ?? each.id;

  return html`<header><h1>${t('Speak')}</h1></header>
    <div class="sheet"><label class="unseen" for="speech">${t('Text to speak')}</label>
      <textarea id="speech" rows="4" maxlength="4096" value=${text} placeholder=${t('Write what should be said')} onInput=${(e) => setText(e.target.value)}></textarea>
      <div class="grid">
        <label>${t('Voice')}<select value=${voice} onChange=${(e) => setChosen(e.target.value)}>${voices.map((each) => html`<option value=${each.id ?? each.name}>${nameOf(each)}</option>`)}</select></label>
        <label>${t('Language')}<select value=${language} onChange=${(e) => setLanguage(e.target.value)}>${LANGUAGES.map((each) => html`<option value=${each}>${each || t('found by itself')}</option>`)}</select></label>
        <label>${t('Format')}<select value=${format} onChange=${(e) => setFormat(e.target.value)}>${FORMATS.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
        <label>${t('Speed')} ${speed}<input type="range" min="0.25" max="4" step="0.05" value=${speed} onInput=${(e) => setSpeed(Number(e.target.value))} /></label>
        ${stop ? html`<button class="danger" onClick=${() => stop.abort()}>${t('Stop')}</button>` : html`<button class="main" disabled=${!text.trim()} onClick=${() => say(sent())}>${t('Speak')}</button>`}
      </div>${text.trim() && html`<${Code} examples=${speaking(sent())} />`}</div>
    <${Wrong} error=${error} />
    ${spoken.map((each) => html`<article class="sheet" key=${each.took}><p>${each.body.input}</p><${Player} blob=${each.blob} />
      <div class="row apart"><span class="soft">${each.body.voice} · ${seconds(each.took)}</span><button onClick=${() => save(each.blob, `speech.${each.body.response_format}`)}>${t('Download')}</button></div></article>`)}
    <${NewVoice} sample=${sample} setSample=${setSample} done=${read} />
    ${own.length > 0 && html`<div class="sheet"><h2>${t('Your voices')}</h2>${own.map((each) => html`<div class="row apart" key=${each.id}><span>${each.name}</span><div class="row">
      <button onClick=${() => { setChosen(each.id); say({ ...sent(), voice: each.id, input: text.trim() || t('This is how I sound.') }); }}>${t('Try')}</button>
      <button class="danger" onClick=${() => remove(each)}>${t('Delete')}</button></div></div>`)}</div>`}`;
}

/** The sound as a line, and the browser's own player. */
function Player({ blob }) {
  const canvas = useRef();
  const [url, setUrl] = useState(null);
  useEffect(() => {
    const made = URL.createObjectURL(blob);
    setUrl(made);
    let context = null;
    (async () => {
      try {
        context = new AudioContext();
        draw(canvas.current, (await context.decodeAudioData(await blob.arrayBuffer())).getChannelData(0));
      } catch { canvas.current.hidden = true; } // a format that this browser cannot read
      context?.close();
    })();
    return () => URL.revokeObjectURL(made);
  }, [blob]);
  return html`<canvas class="wave" ref=${canvas} width="1200" height="144" role="img" aria-label=${t('the sound’s loudness')}></canvas>${url && html`<audio controls src=${url} style=${{ width: '100%' }}></audio>`}`;
}

function draw(canvas, samples) {
  const context = canvas.getContext('2d');
  context.fillStyle = getComputedStyle(canvas).getPropertyValue('color');
  const bars = 240;
  const step = Math.max(1, Math.floor(samples.length / bars));
  for (let i = 0; i < bars; i += 1) {
    let peak = 0;
    for (let j = i * step; j < Math.min(samples.length, (i + 1) * step); j += 1) peak = Math.max(peak, Math.abs(samples[j]));
    const height = Math.max(2, peak * 140);
    context.fillRect(i * 5, 72 - height / 2, 3, height);
  }
}

function NewVoice({ sample, setSample, done }) {
  const [name, setName] = useState('');
  const [said, setSaid] = useState('');
  const [consent, setConsent] = useState(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const make = async () => {
    setBusy(true);
    setError(null);
    try {
      const agreed = new FormData();
      agreed.append('name', `${name}`);
      agreed.append('language', 'en');
      agreed.append('recording', consent, consent.name ?? 'consent.webm');
      const { id } = await getJson('v1/audio/voice_consents', { form: agreed });
      const voice = new FormData();
      voice.append('name', name);
      voice.append('consent', id);
      voice.append('audio_sample', sample, sample.name ?? 'sample.webm');
      if (said.trim()) voice.append('text', said.trim());
      await call('v1/audio/voices', { form: voice });
      toast(t('{name} can speak now.', { name }));
      setName(''); setSample(null); setConsent(null); setSaid('');
      done();
    } catch (failed) { setError(failed); } finally { setBusy(false); }
  };
  const take = (set) => (files) => { const sound = files.find(isSound); if (sound) set(sound); else toast(t('Only sounds can be used here.')); };
  return html`<details class="sheet" open=${Boolean(sample)}><summary>${t('Make a voice')}</summary><${Drop} take=${take(setSample)}>
    <div class="grid"><label>${t('Name')}<input value=${name} maxlength="100" onInput=${(e) => setName(e.target.value)} /></label>
      <label>${t('What is said in the recording')}<input value=${said} onInput=${(e) => setSaid(e.target.value)} /></label></div>
    <h3>${t('1. A recording of the voice, 3 to 60 seconds')}</h3><div class="row"><${Recorder} take=${setSample} /><${Files} accept="audio/*" take=${take(setSample)}>${t('Choose a file')}<//><span class="soft">${sample ? sample.name ?? t('recorded') : t('or drop one here')}</span></div>
    <h3>${t('2. The speaker reads this sentence')}</h3><blockquote class="note" lang="en">${CONSENT}</blockquote>
    <div class="row"><${Recorder} take=${setConsent} /><${Files} accept="audio/*" take=${take(setConsent)}>${t('Choose a file')}<//><span class="soft">${consent ? consent.name ?? t('recorded') : t('It is kept with the voice.')}</span></div>
    <${Wrong} error=${error} /><div class="row"><button class="main" disabled=${busy || !name.trim() || !sample || !consent} onClick=${make}>${t('Make the voice')}</button></div><//></details>`;
}
