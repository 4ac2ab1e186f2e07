// The AI SDK with `createOpenResponses`, for servers of the Open Responses specification.

import { createOpenResponses } from '@ai-sdk/open-responses';
import { Output, generateText, streamText, tool } from 'ai';
import { z } from 'zod';
import { MODEL, PNG, QUESTION, check, main } from './cases.mjs';

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
const responding = (baseURL) => ({
  model: createOpenResponses({ name: 'atelier', url: `${baseURL}/responses`, apiKey: 'none' })(MODEL),
  maxRetries: 0,
});

await main({
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
});
