// Streams that may break off, read by the helpers of the SDKs: standard input's line says of which server.
//
// {"url": "…/v1"} → for each reader what it read, how the stream ended for it, and the error that it raised or was told.
import { createInterface } from "node:readline";
import { createOpenAI } from "@ai-sdk/openai";
import { jsonSchema, streamText, tool } from "ai";
import OpenAI from "openai";

const { url } = JSON.parse((await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value);
const openai = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const ai = createOpenAI({ baseURL: url, apiKey: "none" });
const schema = { type: "object", properties: {} };
const named = { name: "look", parameters: schema };
const look = tool({ inputSchema: jsonSchema(schema) });

async function chat(read) {
  const tools = [{ type: "function", function: named }];
  const asked = { model: "chat", messages: [{ role: "user", content: "Hi" }], tools };
  const stream = openai.chat.completions.stream(asked);
  stream.on("tool_calls.function.arguments.done", ({ name }) => read.calls.push(name));
  for await (const { choices } of stream) {
    read.text += choices[0]?.delta.content ?? "";
    read.end = choices[0]?.finish_reason ?? read.end;
  }
}

async function responses(read) {
  const tools = [{ type: "function", ...named, strict: false }];
  for await (const event of openai.responses.stream({ model: "chat", input: "Hi", tools })) {
    if (event.type === "response.output_text.delta") read.text += event.delta;
    if (event.type === "response.function_call_arguments.done") read.calls.push("look");
    if (event.response) {
      read.end = event.response.incomplete_details?.reason ?? event.response.status;
      read.error = event.response.error?.message ?? null;
    }
  }
}

const streaming = (model) => async (read) => {
  const asked = { model, prompt: "Hi", tools: { look }, maxRetries: 0, onError() {} };
  for await (const part of streamText(asked).fullStream) {
    if (part.type === "text-delta") read.text += part.text;
    if (part.type === "tool-call" && !part.invalid) read.calls.push(part.toolName);
    if (part.type === "finish") read.end = part.finishReason;
    if (part.type === "error") read.error = part.error.message ?? JSON.stringify(part.error);
  }
};

const readers = { chat, responses, ai_chat: streaming(ai.chat("chat")), ai_responses: streaming(ai("chat")) };
const told = {};
for (const [name, reader] of Object.entries(readers)) {
  told[name] = { text: "", calls: [], end: null, error: null };
  try {
    await reader(told[name]);
  } catch (error) {
    told[name].error = error.message;
  }
}
process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0));
