// @openai/agents over both APIs.

import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, run, setTracingDisabled, tool } from '@openai/agents';
import OpenAI from 'openai';
import { z } from 'zod';
import { MODEL, PNG_URL, QUESTION, check, main } from './cases.mjs';

setTracingDisabled(true);
const Seen = z.object({ colour: z.enum(['red', 'blue', 'green']), shape: z.enum(['circle', 'square', 'star']) });
const look = tool({
  name: 'look',
  description: 'Look for a shape.',
  parameters: z.object({ shape: z.string() }),
  execute: async ({ shape }) => `a red ${shape}`,
});
const PICTURE = [
  {
    role: 'user',
    content: [
      { type: 'input_text', text: QUESTION },
      { type: 'input_image', image: PNG_URL },
    ],
  },
];
const agent = (baseURL, more = {}, Model = OpenAIChatCompletionsModel) =>
  new Agent({
    name: 'looker',
    model: new Model(new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 }), MODEL),
    ...more,
  });
const must = { tools: [look], modelSettings: { toolChoice: 'required' } };

await main({
  async text(url) {
    check((await run(agent(url), QUESTION)).finalOutput, 'a text');
  },
  async picture(url) {
    check((await run(agent(url), PICTURE)).finalOutput.toLowerCase().includes('red'), 'the circle is red');
  },
  async stream(url) {
    const result = await run(agent(url), QUESTION, { stream: true });
    let text = '';
    for await (const piece of result.toTextStream()) text += piece;
    check(text, 'a text');
  },
  async structured(url) {
    check(Seen.parse((await run(agent(url, { outputType: Seen }), QUESTION)).finalOutput), 'what is seen');
  },
  async tools(url) {
    check((await run(agent(url, must), QUESTION)).finalOutput, 'a text');
  },
  async responses(url) {
    const { finalOutput } = await run(agent(url, {}, OpenAIResponsesModel), PICTURE);
    check(finalOutput.toLowerCase().includes('red'), 'the circle is red');
  },
  async responses_stream(url) {
    const result = await run(agent(url, {}, OpenAIResponsesModel), QUESTION, { stream: true });
    let text = '';
    for await (const piece of result.toTextStream()) text += piece;
    check(text, 'a text');
  },
  async responses_tools(url) {
    const looking = agent(url, { ...must, toolUseBehavior: 'stop_on_first_tool' }, OpenAIResponsesModel);
    check((await run(looking, QUESTION)).finalOutput.includes('red'), 'what the tool said');
  },
});
