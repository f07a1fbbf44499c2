"use strict";
// A node's service on Node.js: what ordinary programs there do with HTTP. Prints its port.
const http = require("node:http");
const { createHash } = require("node:crypto");

let left = 0; // event streams whose client has gone

const pages = {
  "/echo": (request, response, body, trailers) => {
    const seen = {
      method: request.method,
      url: request.url,
      version: request.httpVersion,
      headers: request.rawHeaders,
      trailers,
      length: body.length,
      sha256: createHash("sha256").update(body).digest("hex"),
      left,
    };
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(seen));
  },
  "/chunked": (request, response) => {
    for (const part of ["one ", "two ", "three"]) response.write(part);
    response.end();
  },
  "/trailers": (request, response) => {
    response.writeHead(200, { Trailer: "X-Sum", "Content-Type": "text/plain" });
    response.write("summed");
    response.addTrailers({ "X-Sum": "6" });
    response.end();
  },
  "/hints": (request, response) => {
    response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" }, () => response.end("hinted"));
  },
  "/events": (request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    let number = 0;
    const timer = setInterval(() => response.write(`data: ${number++}\n\n`), 20);
    response.on("close", () => {
      clearInterval(timer);
      left += 1;
    });
  },
};

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    const page = pages[request.url.split("?")[0]];
    if (page) return page(request, response, Buffer.concat(parts), request.trailers);
    response.writeHead(404).end();
  });
});

// A body that is not wanted, refused before it is sent.
server.on("checkContinue", (request, response) => {
  if (request.url === "/refuse") {
    response.writeHead(413, { Connection: "close" }).end("too much");
    return;
  }
  response.writeContinue();
  server.emit("request", request, response);
});

// WebSocket (RFC 6455), as little as an echo needs: whole frames of less than 64 KiB.
function frames(buffer) {
  const found = [];
  while (buffer.length >= 2) {
    let length = buffer[1] & 0x7f;
    let start = 2;
    if (length === 126) {
      if (buffer.length < 4) break;
      length = buffer.readUInt16BE(2);
      start = 4;
    }
    if (buffer.length < start + 4 + length) break;
    const mask = buffer.subarray(start, start + 4);
    const payload = Buffer.from(buffer.subarray(start + 4, start + 4 + length));
    for (let i = 0; i < length; i++) payload[i] ^= mask[i % 4];
    found.push({ opcode: buffer[0] & 0x0f, payload });
    buffer = buffer.subarray(start + 4 + length);
  }
  return [found, buffer];
}

function frame(opcode, payload) {
  const size = payload.length;
  const head = size < 126 ? [0x80 | opcode, size] : [0x80 | opcode, 126, size >> 8, size & 0xff];
  return Buffer.concat([Buffer.from(head), payload]);
}

server.on("upgrade", (request, socket, head) => {
  const key = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const accept = createHash("sha1").update(key).digest("base64");
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  let rest = head;
  const take = (data) => {
    let found;
    [found, rest] = frames(Buffer.concat([rest, data]));
    for (const { opcode, payload } of found) {
      socket.write(frame(opcode === 9 ? 10 : opcode, payload));
      if (opcode === 8) socket.end();
    }
  };
  socket.on("data", take);
  socket.on("error", () => socket.destroy());
  take(Buffer.alloc(0));
});

server.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
process.on("SIGTERM", () => process.exit(0));
