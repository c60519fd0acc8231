// Does what it is told, a line at a time: makes clients of the SDK, calls their methods, says what came of it.

import * as sdk from "customerio-node";
import { createInterface } from "node:readline";

const clients = new Map();

const orders = {
  exports: () => Object.keys(sdk.default),
  names: ({ of }) => Object.getOwnPropertyNames(sdk[of].prototype).filter((name) => name !== "constructor"),
  make: ({ as, of, args }) => void clients.set(as, new sdk[of](...args)),
  call: ({ on, method, args }) => clients.get(on)[method](...args.map(real)),
};

// What JSON has no word for: an object of one of the SDK's classes, and bytes.
function real(value) {
  if (value === null || typeof value !== "object") return value;
  if ("$bytes" in value) return new Blob([Buffer.from(value.$bytes, "base64")]);
  if ("$new" in value) {
    const made = new sdk[value.$new](value.with);
    for (const [name, content] of value.attach ?? []) made.attach(name, content);
    return made;
  }
  if (Array.isArray(value)) return value.map(real);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, real(inner)]));
}

function described(problem) {
  const { name, message, statusCode, body, response, cause } = problem;
  return { name, message, status: statusCode, body, headers: response?.headers, cause: cause && String(cause) };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { order, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await orders[order](rest)) ?? null };
  } catch (problem) {
    answer = { problem: described(problem) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
