// openai-node: plain calls, its stream helper and `parse`, in both APIs; pictures, speech and vectors.

import OpenAI, { toFile } from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { MODEL, PNG, PNG_URL, QUESTION, WANTS_PICTURE, check, isMp3, isPicture, main } from './cases.mjs';

const Seen = z.object({ colour: z.enum(['red', 'blue', 'green']), shape: z.enum(['circle', 'square', 'star']) });
const TOOL = {
  type: 'function',
  function: {
    name: 'look',
    parameters: { type: 'object', properties: { shape: { type: 'string' } }, required: ['shape'] },
  },
};
const client = (baseURL) => new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const asked = (content) => ({ model: MODEL, messages: [{ role: 'user', content }] });
const decoded = (made) => Buffer.from(made.data[0].b64_json, 'base64');

await main({
  async text(url) {
    const answer = await client(url).chat.completions.create(asked(QUESTION));
    check(answer.choices[0].message.content, 'a text');
  },
  async picture(url) {
    const answer = await client(url).chat.completions.create(asked(WANTS_PICTURE));
    check(answer.choices[0].message.content.toLowerCase().includes('red'), 'the circle is red');
  },
  async stream(url) {
    const runner = client(url).chat.completions.stream(asked(WANTS_PICTURE));
    check((await runner.finalContent()).toLowerCase().includes('red'), 'the circle is red');
  },
  async structured(url) {
    const answer = await client(url).chat.completions.parse({
      ...asked(WANTS_PICTURE),
      response_format: zodResponseFormat(Seen, 'seen'),
    });
    check(Seen.parse(answer.choices[0].message.parsed), 'what is seen');
  },
  async tools(url) {
    const answer = await client(url).chat.completions.create({
      ...asked(QUESTION),
      tools: [TOOL],
      tool_choice: 'required',
    });
    check(answer.choices[0].message.tool_calls[0].function.name === 'look', 'a call');
  },
  async responses(url) {
    const content = [
      { type: 'input_text', text: QUESTION },
      { type: 'input_image', image_url: PNG_URL, detail: 'auto' },
    ];
    const answer = await client(url).responses.create({ model: MODEL, input: [{ role: 'user', content }] });
    check(answer.output_text.toLowerCase().includes('red'), 'the circle is red');
  },
  async responses_stream(url) {
    const runner = client(url).responses.stream({ model: MODEL, input: QUESTION });
    check((await runner.finalResponse()).output_text, 'a text');
  },
  async responses_structured(url) {
    const format = zodTextFormat(Seen, 'seen');
    const answer = await client(url).responses.parse({ model: MODEL, input: QUESTION, text: { format } });
    check(Seen.parse(answer.output_parsed), 'what is seen');
  },
  async draw(url) {
    const made = await client(url).images.generate({ model: 'gpt-image-1', prompt: 'a red circle' });
    check(isPicture(decoded(made)), 'a picture');
  },
  async draw_stream(url) {
    const events = await client(url).images.generate({
      model: 'gpt-image-1',
      prompt: 'a red circle',
      stream: true,
      partial_images: 1,
    });
    let last;
    for await (const event of events) last = event;
    check(last.type === 'image_generation.completed' && last.b64_json, 'a picture');
  },
  async edit(url) {
    const image = await toFile(PNG, 'circle.png', { type: 'image/png' });
    const made = await client(url).images.edit({ model: 'gpt-image-1', image, prompt: 'make the circle green' });
    check(isPicture(decoded(made)), 'a picture');
  },
  async speech(url) {
    const said = await client(url).audio.speech.create({ model: 'tts-1', voice: 'alloy', input: 'A red circle.' });
    check(isMp3(new Uint8Array(await said.arrayBuffer())), 'sound');
  },
  async embeddings(url) {
    const input = ['a red circle', 'a blue star'];
    const made = await client(url).embeddings.create({ model: 'text-embedding-3-small', input });
    check(made.data.length === 2 && made.data[0].embedding.length > 100, 'two vectors');
  },
});
