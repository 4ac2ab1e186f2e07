// The AI SDK with `createOpenAI`, whose models use the Responses API unless they are asked for by `.chat`.

import { createOpenAI } from '@ai-sdk/openai';
import { generateSpeech, Output, embedMany, generateImage, generateText, streamText, tool } from 'ai';
import { z } from 'zod';
import { MODEL, PNG, QUESTION, check, isMp3, isPicture, main } from './cases.mjs';

const Seen = z.object({ colour: z.enum(['red', 'blue', 'green']), shape: z.enum(['circle', 'square', 'star']) });
const look = tool({
  description: 'Look for a shape.',
  inputSchema: z.object({ shape: z.string() }),
  execute: async ({ shape }) => `a red ${shape}`,
});
const PICTURE = [
  {
    role: 'user',
    content: [
      { type: 'text', text: QUESTION },
      { type: 'image', image: PNG },
    ],
  },
];
const server = (baseURL) => createOpenAI({ baseURL, apiKey: 'none' });
const chat = (url) => ({ model: server(url).chat(MODEL), maxRetries: 0 });
const responding = (url) => ({ model: server(url)(MODEL), maxRetries: 0 });

await main({
  async text(url) {
    check((await generateText({ ...chat(url), prompt: QUESTION })).text, 'a text');
  },
  async picture(url) {
    const { text } = await generateText({ ...chat(url), messages: PICTURE });
    check(text.toLowerCase().includes('red'), 'the circle is red');
  },
  async stream(url) {
    let text = '';
    for await (const piece of streamText({ ...chat(url), prompt: QUESTION }).textStream) text += piece;
    check(text, 'a text');
  },
  async structured(url) {
    const { output } = await generateText({
      ...chat(url),
      messages: PICTURE,
      output: Output.object({ schema: Seen }),
    });
    check(Seen.parse(output), 'what is seen');
  },
  async tools(url) {
    const { toolCalls } = await generateText({
      ...chat(url),
      prompt: QUESTION,
      tools: { look },
      toolChoice: 'required',
    });
    check(toolCalls[0].toolName === 'look', 'a call');
  },
  async responses(url) {
    const { text } = await generateText({ ...responding(url), messages: PICTURE });
    check(text.toLowerCase().includes('red'), 'the circle is red');
  },
  async responses_stream(url) {
    let text = '';
    for await (const piece of streamText({ ...responding(url), prompt: QUESTION }).textStream) text += piece;
    check(text, 'a text');
  },
  async responses_structured(url) {
    const { output } = await generateText({
      ...responding(url),
      messages: PICTURE,
      output: Output.object({ schema: Seen }),
    });
    check(Seen.parse(output), 'what is seen');
  },
  async responses_tools(url) {
    const { toolCalls } = await generateText({
      ...responding(url),
      prompt: QUESTION,
      tools: { look },
      toolChoice: 'required',
    });
    check(toolCalls[0].toolName === 'look', 'a call');
  },
  async draw(url) {
    const { image } = await generateImage({
      model: server(url).image('gpt-image-1'),
      prompt: 'a red circle',
      maxRetries: 0,
    });
    check(isPicture(image.uint8Array), 'a picture');
  },
  async edit(url) {
    const { image } = await generateImage({
      model: server(url).image('gpt-image-1'),
      prompt: { text: 'make the circle green', images: [PNG] },
      maxRetries: 0,
    });
    check(isPicture(image.uint8Array), 'a picture');
  },
  async speech(url) {
    const { audio } = await generateSpeech({
      model: server(url).speech('tts-1'),
      text: 'A red circle.',
      maxRetries: 0,
    });
    check(isMp3(audio.uint8Array), 'sound');
  },
  async embeddings(url) {
    const { embeddings } = await embedMany({
      model: server(url).embedding('text-embedding-3-small'),
      values: ['a red circle', 'a blue star'],
      maxRetries: 0,
    });
    check(embeddings.length === 2, 'two vectors');
  },
});
