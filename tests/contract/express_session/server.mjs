// A login whose sessions express-session keeps in Redis through connect-redis.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { RedisStore } from "connect-redis";
import session from "express-session";
import { createClient } from "redis";

const client = createClient({ url: process.env.REDIS_URL });
await client.connect();
const withSession = session({
  store: new RedisStore({ client }),
  secret: randomBytes(32).toString("hex"),
  resave: false,
  saveUninitialized: false,
});

const server = createServer((request, response) => {
  withSession(request, response, (error) => {
    if (error) {
      response.statusCode = 500;
    } else if (request.url === "/login") {
      request.session.user = "alice";
    } else if (!request.session.user) {
      response.statusCode = 401;
    }
    response.end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(`serving on port ${server.address().port}`));
