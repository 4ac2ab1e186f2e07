// What Anthropic's SDK makes of /v1/messages, each call as its users write it: standard input's line says of which server.
//
// {"url": "…", "picture": "base64 of a PNG"} → what came of each call, by its name.
import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";

const { url, picture } = JSON.parse((await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()).value);
const claude = new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 });
const hello = { model: "vlm-fast", max_tokens: 50, messages: [{ role: "user", content: "Hello" }] };
const image = { type: "image", source: { type: "base64", media_type: "image/png", data: picture } };
const properties = { colour: { enum: ["red", "blue"] } };
const report = { name: "report", input_schema: { type: "object", properties, required: ["colour"] } };

const calls = {
  async picture() {
    const content = [image, { type: "text", text: "What colour is the circle?" }];
    const { data, request_id } = await claude.messages
      .create({ ...hello, messages: [{ role: "user", content }] })
      .withResponse();
    return { ...data, named: request_id === data.id.replace("msg_", "") };
  },
  async stream() {
    const whole = await claude.messages.create(hello);
    let text = "";
    const stream = claude.messages.stream(hello).on("text", (piece) => (text += piece));
    const final = await stream.finalMessage();
    return { text, whole: whole.content[0].text, final: final.content[0].text, stop: final.stop_reason };
  },
  async tool() {
    const asked = { ...hello, tools: [report], tool_choice: { type: "any", disable_parallel_tool_use: true } };
    const { content, stop_reason } = await claude.messages.stream(asked).finalMessage();
    const result = { type: "tool_result", tool_use_id: content[0].id, content: "noted" };
    const messages = [...hello.messages, { role: "assistant", content }, { role: "user", content: [result] }];
    const after = await claude.messages.create({ ...hello, tools: [report], messages });
    return { use: content[0], stop_reason, after: after.content[0].type };
  },
  async tokens() {
    const { input_tokens } = await claude.messages.countTokens({ model: "vlm-fast", messages: hello.messages });
    return input_tokens;
  },
  async drawing() {
    const wish = { role: "user", content: "Draw a big red circle on a white background" };
    const stream = claude.messages.stream({ model: "atelier", max_tokens: 100, messages: [wish] });
    const { content } = await stream.finalMessage();
    return content;
  },
  async unknown() {
    await claude.messages.create({ ...hello, model: "nobody" });
  },
  async left() {
    const stream = claude.messages.stream(hello);
    stream.abort();
    await stream.done();
  },
};

const told = {};
for (const [name, call] of Object.entries(calls)) {
  try {
    told[name] = await call();
  } catch (error) {
    const { status, error: body, requestID } = error;
    told[name] = { raised: error.constructor.name, status, type: body?.error?.type, named: Boolean(requestID) };
  }
}
process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0));
