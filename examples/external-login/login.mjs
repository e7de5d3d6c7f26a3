// An authorization endpoint: it signs people in and asks for their consent. What a request may ask for, what becomes of
// it and where the browser goes, Tollgate says over its admin socket.
import { createServer } from "node:http";
import { createHash, randomBytes, scryptSync, timingSafeEqual } from "node:crypto";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const SOCKET = process.env.ADMIN_SOCKET ?? `unix:${fileURLToPath(new URL("admin.sock", import.meta.url))}`;
const PORT = Number(process.env.PORT ?? 8090);
const ORIGIN = process.env.ORIGIN ?? `http://127.0.0.1:${PORT}`; // as browsers see it
const SESSION_SECONDS = 8 * 3600;
const MOST = 10_000; // sessions, and requests that wait: what is more is turned away

// The people: yours are in a directory. Ada's password is "ada", and stands here so that you can try it.
const ada = { subject: "u-1", name: "Ada Lovelace", email: "ada@example.com", ...hashed("ada") };
const people = new Map([["ada", ada]]);

const protos = fileURLToPath(new URL("../../proto", import.meta.url));
const definition = loader.loadSync("tollgate/admin/v1/authorization.proto", {
  includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true,
});
const { AuthorizationService } = grpc.loadPackageDefinition(definition).tollgate.admin.v1;
const tollgate = new AuthorizationService(SOCKET, grpc.credentials.createInsecure());
const call = (method, request) =>
  new Promise((resolve, reject) => {
    const options = { deadline: Date.now() + 5_000 };
    tollgate[method](request, options, (error, answer) => (error ? reject(error) : resolve(answer)));
  });

// Browsers, by their cookie; each has the requests that it brought, and who is signed in with it.
const browsers = new Map();

function browserOf(request) {
  const cookies = (request.headers.cookie ?? "").split(/; */).filter((pair) => pair.startsWith("login="));
  const known = cookies.length === 1 ? browsers.get(cookies[0].slice("login=".length)) : undefined;
  return known && known.until > now() ? known : undefined;
}

function newBrowser(response, person) {
  for (const [id, browser] of browsers) if (browser.until <= now()) browsers.delete(id);
  if (browsers.size >= MOST) throw Object.assign(new Error("full"), { status: 503 });
  const id = randomBytes(32).toString("base64url");
  const csrf = randomBytes(32).toString("base64url");
  const browser = { id, csrf, until: now() + SESSION_SECONDS, requests: new Map(), ...person };
  browsers.set(id, browser);
  const secure = ORIGIN.startsWith("https:") ? "; Secure" : "";
  response.setHeader("set-cookie", `login=${id}; Path=/; HttpOnly; SameSite=Lax${secure}`);
  return browser;
}

// A request of a client. Tollgate judges it first, and may have its own answer.
async function authorize(request, response, parameters) {
  const { outcome, transaction, redirect, refusal } = await call("begin", { parameters });
  if (outcome === "redirect") return go(response, redirect.location);
  if (outcome === "refusal") {
    return show(response, 400, `<p>This request cannot go on: ${text(refusal.error_description)}.</p>`);
  }
  const browser = browserOf(request) ?? newBrowser(response);
  const { prompt } = transaction;
  const oldest = transaction._max_age ? now() - transaction.max_age : 0;
  const signedIn = browser.subject && browser.auth_time >= oldest && !prompt.includes("login");
  if (prompt.includes("none")) { // nothing may be asked, and consent is asked for every time
    const reason = signedIn ? "DENY_REASON_CONSENT_REQUIRED" : "DENY_REASON_LOGIN_REQUIRED";
    return go(response, (await call("deny", { transaction: transaction.handle, reason })).redirect_to);
  }
  for (const [id, waiting] of browser.requests) if (waiting.expire_time <= now()) browser.requests.delete(id);
  if (browser.requests.size >= 20) browser.requests.delete(browser.requests.keys().next().value);
  const id = randomBytes(16).toString("base64url");
  browser.requests.set(id, transaction);
  return signedIn ? consent(response, browser, id) : signIn(response, browser, id);
}

// The forms. Each belongs to a request that this very browser brought.
async function submitted(request, response, form) {
  const browser = browserOf(request);
  const id = form.get("request");
  const transaction = browser?.requests.get(id);
  if (!transaction || !same(form.get("csrf"), browser.csrf)) {
    return show(response, 403, "<p>This page is too old. Start again at the application.</p>");
  }
  if (form.has("password")) {
    const person = people.get(form.get("username"));
    const right = same(scryptSync(form.get("password"), person?.salt ?? "", 32), person?.hash ?? randomBytes(32));
    if (!right) return signIn(response, browser, id, "The username or the password is wrong."); // limit attempts, too
    browsers.delete(browser.id); // whoever knew the old cookie does not know the new one
    const { subject, name, email } = person;
    const signedIn = newBrowser(response, { subject, name, email, auth_time: now(), requests: browser.requests });
    return consent(response, signedIn, id);
  }
  if (!browser.subject) return signIn(response, browser, id);
  browser.requests.delete(id);
  if (form.get("decision") === "approve") return approve(response, browser, transaction);
  return go(response, (await call("deny", { transaction: transaction.handle })).redirect_to);
}

async function approve(response, { subject, name, email, auth_time }, { handle, authorization_details }) {
  const said = { transaction: handle, subject, auth_time, name, email, authorization_details };
  const { redirect_to } = await call("approve", said);
  return go(response, redirect_to);
}

function signIn(response, browser, id, fault = "") {
  const { client_name, login_hint } = browser.requests.get(id);
  show(response, fault ? 403 : 200, `<h1>Sign in</h1><p>to go on to ${text(client_name)}</p>
    <p role="alert">${text(fault)}</p>${form(browser, id)}
    <label>Username <input name="username" value="${text(login_hint)}" autocomplete="username" required></label>
    <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
    <button>Sign in</button></form>`);
}

async function consent(response, browser, id) {
  const transaction = browser.requests.get(id);
  if (!transaction.needs_consent) { // Tollgate's own pages, which ask themselves
    browser.requests.delete(id);
    return approve(response, browser, transaction);
  }
  const list = (members) => members.map(({ name, value }) => `, ${text(name)}: ${text(value)}`).join("");
  const asked = [...transaction.scopes, ...transaction.details];
  const items = asked.map(({ description, members = [] }) => `<li>${text(description)}${list(members)}</li>`).join("");
  show(response, 200, `<h1>${text(transaction.client_name)}</h1>
    <p>asks ${text(browser.name)} to let it:</p><ul>${items}</ul>
    <p>You will go on to ${text(transaction.redirect_host)}.</p>${form(browser, id)}
    <button name="decision" value="approve">Approve</button>
    <button name="decision" value="deny">Decline</button></form>`);
}

const form = (browser, id) => `<form method="post" action="/submit">
  <input type="hidden" name="request" value="${id}"><input type="hidden" name="csrf" value="${browser.csrf}">`;

// No `form-action`: browsers apply it to the redirect that answers a form as well.
const HEADERS = {
  "cache-control": "no-store",
  "content-security-policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY",
};
const HEAD = `<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>Sign in</title>`;
const show = (response, status, body) =>
  response.writeHead(status, { ...HEADERS, "content-type": "text/html; charset=utf-8" }).end(`${HEAD}${body}</html>`);
const go = (response, location) => response.writeHead(303, { ...HEADERS, location }).end();
const text = (value) => String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
const now = () => Math.floor(Date.now() / 1000);
const digest = (value) => createHash("sha256").update(value ?? "").digest();
const same = (one, other) => timingSafeEqual(digest(one), digest(other));
function hashed(password) {
  const salt = randomBytes(16);
  return { salt, hash: scryptSync(password, salt, 32) };
}

async function body(request) {
  let all = "";
  for await (const part of request.setEncoding("utf8")) {
    all += part;
    if (all.length > 65_536) throw Object.assign(new Error("too large"), { status: 413 });
  }
  return all;
}

async function answer(request, response) {
  const at = request.url.indexOf("?");
  const [path, query] = at < 0 ? [request.url, ""] : [request.url.slice(0, at), request.url.slice(at + 1)];
  const posted = request.method === "POST" ? await body(request) : "";
  if (path === "/authorize" && request.method === "GET") return authorize(request, response, query);
  if (path === "/authorize" && request.method === "POST") return authorize(request, response, `${query}&${posted}`);
  if (path === "/submit" && request.method === "POST") return submitted(request, response, new URLSearchParams(posted));
  return show(response, 404, "<p>There is nothing here.</p>");
}

const server = createServer((request, response) =>
  answer(request, response).catch((error) => {
    console.error(`${request.method} failed: ${error.code ?? ""} ${error.details ?? error.message}`); // never the query
    if (error.code === grpc.status.UNAVAILABLE || error.code === grpc.status.DEADLINE_EXCEEDED) error.status = 503;
    if (error.code === grpc.status.FAILED_PRECONDITION) error.status = 400;
    if (response.headersSent) return response.destroy();
    show(response, error.status ?? 500, "<p>This did not work. Start again at the application, or try later.</p>");
  }),
);
server.listen(PORT, "127.0.0.1", () => console.log(`ready: ${ORIGIN}/authorize`));
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
