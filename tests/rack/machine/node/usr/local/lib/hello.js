// Answers each request with the node's name and how long it has been up.
const { createServer } = require("node:http");
const { hostname, uptime } = require("node:os");

createServer((request, response) => {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ node: hostname(), target: request.url, uptime: uptime() }) + "\n");
}).listen(80);
