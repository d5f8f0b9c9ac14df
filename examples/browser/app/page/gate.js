// What a page needs to use an API behind a gate on another origin. The token stays in a variable: what is in
// localStorage is there for every script of the page, at any time.
const gate = await (await fetch("/gate")).text();
let token = "";
export const bearer = () => token;

const base64url = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const utf8 = (text) => new TextEncoder().encode(text);

// A key that no script can read, for tokens that are worth nothing without it (RFC 9449).
let key, nonce;
async function proof(method, url, bound) {
  const jwk = await crypto.subtle.exportKey("jwk", key.publicKey);
  const head = { typ: "dpop+jwt", alg: "ES256", jwk: { kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y } };
  const claims = { jti: crypto.randomUUID(), htm: method, htu: url, iat: Math.floor(Date.now() / 1000), nonce };
  if (bound) claims.ath = base64url(await crypto.subtle.digest("SHA-256", utf8(bound)));
  const text = [head, claims].map((part) => base64url(utf8(JSON.stringify(part)))).join(".");
  const algorithm = { name: "ECDSA", hash: "SHA-256" };
  return `${text}.${base64url(await crypto.subtle.sign(algorithm, key.privateKey, utf8(text)))}`;
}

// signIn gets a code from the page's own server and redeems it at the gate, for a bearer or for a bound token.
export async function signIn({ dpop = false } = {}) {
  key = dpop && await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const challenge = base64url(await crypto.subtle.digest("SHA-256", utf8(verifier)));
  const code = await (await fetch("/code", { method: "POST", body: new URLSearchParams({ challenge }) })).text();
  const url = `${gate}/oauth2/token`;
  const redeem = async () => fetch(url, {
    method: "POST",
    headers: key ? { DPoP: await proof("POST", url) } : {},
    body: new URLSearchParams({ grant_type: "authorization_code", client_id: "page", code, code_verifier: verifier }),
  });
  const answer = await again(redeem);
  if (!answer.ok) throw new Error(`no token: ${answer.status}`);
  token = (await answer.json()).access_token;
}

// again repeats a request whose proof has to have the gate's nonce.
async function again(ask) {
  const answer = await ask();
  const told = answer.headers.get("DPoP-Nonce");
  if (!told || told === nonce) return answer;
  nonce = told;
  return answer.ok ? answer : ask();
}

// call is fetch with the token.
export async function call(path, options = {}) {
  const url = `${gate}${path}`;
  const { method = "GET" } = options;
  return again(async () => {
    const own = key ? { Authorization: `DPoP ${token}`, DPoP: await proof(method, url.split("?")[0], token) }
      : { Authorization: `Bearer ${token}` };
    return fetch(url, { ...options, headers: { ...options.headers, ...own } });
  });
}

// ticket returns a URL that opens this one request, once, within seconds.
export async function ticket(path) {
  const body = JSON.stringify({ request: `GET ${path}` });
  const answer = await call("/api/v1/tickets", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (!answer.ok) throw new Error(`no ticket: ${answer.status}`);
  return gate + (await answer.json()).url;
}

// listen keeps an EventSource open. A reconnect of its own would show the used ticket again: each needs a new one.
export async function listen(path, onmessage, pause = 1000) {
  const source = new EventSource(await ticket(path));
  source.onmessage = onmessage;
  source.onerror = () => {
    source.close();
    setTimeout(listen, pause, path, onmessage, pause);
  };
}

// socket opens a WebSocket by a ticket; new WebSocket(url, ["bearer", token]) needs none.
export async function socket(path, protocols = []) {
  return new WebSocket((await ticket(path)).replace(/^http/, "ws"), protocols);
}
