/** @file An endpoint for chat completions on loopback: a real HTTP server that answers, and misbehaves, as told. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

/** One request as it came in. */
export type ChatSeen = {
  readonly path: string;
  readonly key: string | undefined;
  readonly body: {
    readonly model: string;
    readonly temperature?: number;
    readonly messages: readonly { readonly role: string; readonly content: unknown }[];
  };
};

/** What to do about one request: say this text, or anything else by hand. */
export type ChatAnswer = string | ((response: ServerResponse, request: IncomingMessage) => void);

/** Starts a server that gives these answers one after the other, the last one for ever; closed when the test ends. */
export async function chatServer(
  ...answers: readonly ChatAnswer[]
): Promise<{ readonly url: string; readonly seen: ChatSeen[] }> {
  const seen: ChatSeen[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8");
    request.on("data", (chunk: string) => {
      text += chunk;
    });
    request.on("end", () => {
      seen.push({ path: request.url!, key: request.headers.authorization, body: JSON.parse(text) });
      const answer = answers[Math.min(seen.length, answers.length) - 1];
      if (typeof answer === "string") respond(response, 200, completion(answer));
      else answer(response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`, seen };
}

/** Ends a response with a status and JSON. */
export function respond(
  response: ServerResponse,
  status: number,
  json: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(JSON.stringify(json));
}

/** A completion with one choice. */
export function completion(content: unknown, finish_reason = "stop"): unknown {
  return {
    id: "x",
    object: "chat.completion",
    choices: [{ index: 0, message: { role: "assistant", content }, finish_reason }],
  };
}
