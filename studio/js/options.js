// How a picture is made, beside its words: folded away, with the model's own defaults and limits.
import { html } from '../vendor/preact-htm.js';
import { t } from './words.js';

export function Options({ options, setOptions, empty, drawers, model, given }) {
  const set = (name) => (e) => setOptions({ ...options, [name]: e.target.value });
  const limits = model?.limits ?? {};
  const [width, height] = (limits.default_size ?? '1024x1024').split('x').map(Number);
  const rounded = (value) => Math.min(limits.max_side ?? 2048, Math.max(64, Math.round(value / 16) * 16));
  const sizes = [...new Set([...(options.size ? [options.size] : []), ...[[1, 1], [1.5, 1], [1, 1.5], [2, 1], [1, 2], [0.5, 0.5]].map(([x, y]) => `${rounded(width * x)}x${rounded(height * y)}`)])];
  return html`<div class="grid">
    <label>${t('Model')}<select value=${model?.id} onChange=${set('model')}>${drawers.map((each) => html`<option value=${each.id}>${each.id}</option>`)}</select></label>
    <label>${t('Size')}<select value=${options.size} onChange=${set('size')}><option value="">${t('the model’s own')}</option>${sizes.map((each) => html`<option value=${each}>${each}</option>`)}</select></label>
    <label>${t('Pictures')}<input type="number" min="1" max=${limits.max_n ?? 10} value=${options.n} onInput=${set('n')} /></label>
    <label>${t('Steps')}<input type="number" min="1" max="150" placeholder=${t('the model’s own')} value=${options.steps} onInput=${set('steps')} /></label>
    <label>${t('Seed')}<input type="number" min="0" placeholder=${t('by chance')} value=${options.seed} onInput=${set('seed')} /></label>
    <label>${t('Guidance')}<input type="number" min="0" max="20" step="0.1" placeholder=${t('the model’s own')} value=${options.guidance} onInput=${set('guidance')} /></label>
    <label>${t('Quality')}<select value=${options.quality} onChange=${set('quality')}><option value="">${t('the model’s own')}</option>${['low', 'medium', 'high'].map((each) => html`<option value=${each}>${t(each)}</option>`)}</select></label>
    <label>${t('Not in the picture')}<input value=${options.negative_prompt} onInput=${set('negative_prompt')} /></label>
    ${given.length > 0 && html`<label>${t('Change')} ${options.strength === '' ? t('by the words') : `${Math.round(options.strength * 100)} %`}
      <input type="range" min="0" max="1" step="0.05" value=${options.strength === '' ? 0.6 : options.strength} onInput=${set('strength')} /></label>`}
    ${(limits.loras ?? []).map((name) => html`<label key=${name}>${name}<input type="number" min="-4" max="4" step="0.1" placeholder=${t('off')} value=${options.loras[name] ?? ''}
      onInput=${(e) => setOptions({ ...options, loras: { ...options.loras, [name]: e.target.value } })} /></label>`)}
    <label class="check"><input type="checkbox" checked=${options.embeds} onChange=${(e) => setOptions({ ...options, embeds: e.target.checked })} />${t('Keep the settings in the file')}</label>
    <button class="quiet" onClick=${() => setOptions(empty)}>${t('Back to the defaults')}</button>
  </div>`;
}
