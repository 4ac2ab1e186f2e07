// @langchain/openai: ChatOpenAI in both APIs, DallEAPIWrapper and OpenAIEmbeddings.

import { HumanMessage } from '@langchain/core/messages';
import { tool } from '@langchain/core/tools';
import { ChatOpenAI, DallEAPIWrapper, OpenAIEmbeddings } from '@langchain/openai';
import { z } from 'zod';
import { MODEL, PNG_URL, QUESTION, WANTS_PICTURE, check, isPicture, main } from './cases.mjs';

const Seen = z.object({ colour: z.enum(['red', 'blue', 'green']), shape: z.enum(['circle', 'square', 'star']) });
const PICTURE = [new HumanMessage({ content: WANTS_PICTURE })];
const look = tool(async ({ shape }) => `a red ${shape}`, {
  name: 'look',
  description: 'Look for a shape.',
  schema: z.object({ shape: z.string() }),
});
const chat = (baseURL, more) =>
  new ChatOpenAI({ model: MODEL, apiKey: 'none', maxRetries: 0, configuration: { baseURL }, ...more });

await main({
  async text(url) {
    check((await chat(url).invoke(QUESTION)).text, 'a text');
  },
  async picture(url) {
    check((await chat(url).invoke(PICTURE)).text.toLowerCase().includes('red'), 'the circle is red');
  },
  async stream(url) {
    let text = '';
    for await (const piece of await chat(url).stream(QUESTION)) text += piece.text;
    check(text, 'a text');
  },
  async structured(url) {
    check(Seen.parse(await chat(url).withStructuredOutput(Seen).invoke(PICTURE)), 'what is seen');
  },
  async structured_function_calling(url) {
    const seeing = chat(url).withStructuredOutput(Seen, { method: 'functionCalling' });
    check(Seen.parse(await seeing.invoke(PICTURE)), 'what is seen');
  },
  async tools(url) {
    const answer = await chat(url).bindTools([look], { tool_choice: 'any' }).invoke(QUESTION);
    check(answer.tool_calls[0].name === 'look', 'a call');
  },
  async responses(url) {
    const answer = await chat(url, { useResponsesApi: true }).invoke([
      new HumanMessage({
        content: [
          { type: 'text', text: QUESTION },
          { type: 'image_url', image_url: { url: PNG_URL } },
        ],
      }),
    ]);
    check(answer.text.toLowerCase().includes('red'), 'the circle is red');
  },
  async draw(url) {
    const painter = new DallEAPIWrapper({ apiKey: 'none', baseUrl: url, dallEResponseFormat: 'b64_json' });
    const made = await painter.invoke('a red circle');
    const data = typeof made === 'string' ? made : made[0].image_url;
    check(isPicture(Buffer.from(data.replace(/^data:[^,]*,/, ''), 'base64')), 'a picture');
  },
  async embeddings(url) {
    const embedder = new OpenAIEmbeddings({ apiKey: 'none', configuration: { baseURL: url } });
    check((await embedder.embedDocuments(['a red circle', 'a blue star'])).length === 2, 'two vectors');
  },
});
