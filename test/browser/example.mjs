// The page of examples/browser, and what a page of another site can do to its user.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { given, open, run, step } from "./browser.mjs";

// Within the page: echo sends a word through a WebSocket, and returns what comes back with the protocol that was
// chosen, or what went wrong.
const helpers = `
  window.echo = (socket) => new Promise((resolve) => {
    socket.onopen = () => socket.send("hello");
    socket.onmessage = (event) => { resolve([event.data, socket.protocol]); socket.close(); };
    socket.onerror = () => resolve("error");
  });
`;

run(async (browser) => {
  const page = await open(browser, given.page);
  await page.addScriptTag({ content: helpers });
  await page.waitForFunction(() => window.signIn);
  const ws = given.gate.replace("http", "ws");

  await step("code redeemed across origins", async () => {
    await page.evaluate(() => window.signIn());
    assert.match(await page.evaluate(() => window.bearer()), /^eyJ[\w-]+\.[\w-]+\.[\w-]+$/);
  });

  await step("preflight, good call, 401 and 403", async () => {
    const said = await page.evaluate(async (gate) => {
      const good = await window.call("/api/acme/orders", { headers: { "Content-Type": "application/json" } });
      const none = await fetch(`${gate}/api/acme/orders`);
      const other = await window.call("/api/globex/orders");
      return [await good.json(), none.status, (await none.json()).status, other.status, (await other.json()).title];
    }, given.gate);
    assert.deepEqual(said, [{ tenant: "acme", for: "alice" }, 401, 401, 403, "Forbidden"]);
  });

  await step("DPoP across origins", async () => {
    const said = await page.evaluate(async (gate) => {
      await window.signIn({ dpop: true });
      const good = await window.call("/api/acme/orders");
      const stolen = await fetch(`${gate}/api/acme/orders`, { headers: { Authorization: `Bearer ${window.bearer()}` } });
      const news = await fetch(await window.ticket("/live/acme/events"));
      return [good.status, stolen.status, stolen.headers.get("WWW-Authenticate").split(" ")[0], news.status];
    }, given.gate);
    assert.deepEqual(said, [200, 401, "DPoP", 200]);
    await page.evaluate(() => window.signIn());
  });

  await step("WebSocket by protocol", async () => {
    const protocols = await page.evaluate(async (url) => [
      await window.echo(new WebSocket(url, ["bearer", window.bearer(), "chat.v1"])),
      await window.echo(new WebSocket(url, ["bearer", window.bearer()])),
      await window.echo(new WebSocket(url, ["bearer", "nonsense"])),
      await window.echo(new WebSocket(url)),
    ], `${ws}/live/acme/socket`);
    assert.deepEqual(protocols, [["hello", "chat.v1"], ["hello", "bearer"], "error", "error"]);
  });

  await step("WebSocket by ticket", async () => {
    const twice = await page.evaluate(async (ws) => {
      const url = (await window.ticket("/live/acme/socket")).replace(/^http/, "ws");
      return [
        await window.echo(new WebSocket(url)), await window.echo(new WebSocket(url)),
        await window.echo(await window.socket("/live/acme/socket", ["chat.v1"])),
      ];
    }, ws);
    assert.deepEqual(twice, [["hello", ""], "error", ["hello", "chat.v1"]]);
  });

  await step("EventSource by ticket, and each reconnect by a new one", async () => {
    const news = await page.evaluate(() => new Promise((resolve) => {
      const all = [];
      window.listen("/live/acme/events", (event) => all.push(event.data) === 3 && resolve(all), 10);
    }));
    assert.deepEqual(news, Array(3).fill("news for alice"));
    const own = await page.evaluate(async () => {
      const source = new EventSource(await window.ticket("/live/acme/events"));
      const all = [];
      source.onmessage = (event) => all.push(event.data);
      await new Promise((resolve) => {
        source.onerror = () => source.readyState === EventSource.CLOSED && resolve();
      });
      return all;
    });
    assert.deepEqual(own, ["news for alice"]); // its own reconnect was refused, which ends it
  });

  await step("download by ticket", async () => {
    const started = page.waitForEvent("download");
    const url = await page.evaluate(async () => {
      const link = document.createElement("a");
      link.href = await window.ticket("/live/acme/report");
      document.body.append(link);
      link.click();
      return link.href;
    });
    const download = await started;
    assert.equal(download.suggestedFilename(), "report.csv");
    assert.equal(await readFile(await download.path(), "utf8"), "order,total\n");
    assert.equal(await page.evaluate(async (url) => (await fetch(url)).status, url), 401);
  });

  await step("the snippet of the documentation", async () => {
    await page.addScriptTag({ content: `${given.snippet}\nwindow.snippet = ticket;` });
    const event = await page.evaluate(async (gate) => {
      const source = new EventSource(await window.snippet(gate, "/live/acme/events", window.bearer()));
      return new Promise((resolve) => { source.onmessage = (event) => { source.close(); resolve(event.data); }; });
    }, given.gate);
    assert.equal(event, "news for alice");
    await assert.rejects(page.evaluate((gate) => window.snippet(gate, "/live/globex/events", window.bearer()), given.gate),
      /no ticket: 403/);
  });

  await step("a person signs in, or sees a page", async () => {
    const stranger = await open(browser, `${given.gate}/mine/?a=1&b=%26`);
    assert.equal(stranger.url(), `${given.page}/sign-in?return_to=${encodeURIComponent(`${given.gate}/mine/?a=1&b=%26`)}`);
    const answer = await stranger.goto(`${given.gate}/api/acme/orders`);
    assert.equal(answer.status(), 401);
    assert.equal(await stranger.locator("h1").textContent(), "401 Unauthorized");
    assert.equal(await stranger.locator("code").textContent(), answer.headers()["x-request-id"]);
  });

  const token = await page.evaluate(() => window.bearer());
  const cookie = (more) => ({ name: "session", value: token, domain: "localhost", path: "/", httpOnly: true, ...more });

  await step("cookie of the same site", async () => {
    await page.context().addCookies([cookie({ sameSite: "Lax" })]);
    const said = await page.evaluate(async ([gate, ws]) => {
      const options = { credentials: "include" };
      const get = await fetch(`${gate}/mine/`, options);
      const put = await fetch(`${gate}/mine/`, { ...options, method: "POST" });
      return [await get.text(), await put.text(), await window.echo(new WebSocket(`${ws}/mine/socket`))];
    }, [given.gate, ws]);
    assert.deepEqual(said, ["GET for alice", "POST for alice", ["hello", ""]]);
    const own = await page.context().newPage();
    assert.equal((await own.goto(`${given.gate}/mine/`)).status(), 200);
    await own.close();
  });

  // From a page of another origin: what the gate answers to everything that such a page can have the browser send.
  const attack = async (from) => {
    const evil = await page.context().newPage();
    await evil.goto(from);
    // The status of what the browser hides from the page, too.
    const [asked, answered] = [{}, {}];
    const cdp = await evil.context().newCDPSession(evil);
    await cdp.send("Network.enable");
    cdp.on("Network.requestWillBeSent", ({ requestId, request, type }) => {
      if (request.url.startsWith(given.gate)) asked[requestId] = `${type} ${request.method}`;
    });
    cdp.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => {
      answered[requestId] = statusCode; // it may come first, and late
    });
    const known = () => Object.fromEntries(Object.keys(asked).map((id) => [asked[id], answered[id]]));
    const seen = await evil.evaluate(async ([gate, ws]) => {
      const element = (name) => new Promise((resolve) => {
        const one = Object.assign(document.createElement(name), { src: `${gate}/mine/${name}` });
        one.onload = () => resolve("loaded");
        one.onerror = () => resolve("error");
        document.body.append(one);
      });
      const post = fetch(`${gate}/mine/`, { method: "POST", credentials: "include", body: "x" })
        .then((answer) => answer.text(), (error) => error.name);
      const read = fetch(`${gate}/mine/`, { credentials: "include" })
        .then((answer) => answer.text(), (error) => error.name);
      const socket = new Promise((resolve) => {
        const s = new WebSocket(`${ws}/mine/socket`);
        s.onopen = () => resolve("open");
        s.onerror = () => resolve("error");
      });
      return { image: await element("img"), script: await element("script"), post: await post, read: await read,
        socket: await socket };
    }, [given.gate, ws]);
    const wanted = ["Image GET", "Script GET", "Fetch GET", "Fetch POST"];
    for (let i = 0; i < 600 && wanted.some((name) => !known()[name]); i++) await evil.waitForTimeout(50);
    const statuses = known();
    const form = evil.waitForResponse((answer) => answer.request().isNavigationRequest());
    await evil.evaluate((gate) => {
      const form = Object.assign(document.createElement("form"), { method: "POST", action: `${gate}/mine/` });
      document.body.append(form);
      form.submit();
    }, given.gate);
    const status = (await form).status();
    evil.close().catch(() => {}); // one that shares its process with another page may take its time
    return { ...seen, form: status, statuses };
  };

  await step("a lax cookie stays at home", async () => {
    const said = await attack(given.evil);
    assert.deepEqual([said.form, said.statuses["Image GET"], said.statuses["Script GET"]], [401, 401, 401]);
    assert.deepEqual([said.image, said.socket, said.post, said.read], ["error", "error", "TypeError", "TypeError"]);
  });

  await step("a form of another site with the cookie", async () => {
    await page.context().addCookies([cookie({ sameSite: "None", secure: true })]);
    assert.equal((await attack(given.evil)).form, 403);
  });

  let loose;
  await step("form, fetch and WebSocket of another origin of the site", async () => {
    await page.context().addCookies([cookie({ sameSite: "Lax" })]);
    loose = await attack(given.neighbor);
    assert.deepEqual([loose.form, loose.statuses["Fetch POST"]], [403, 403]);
    assert.deepEqual([loose.socket, loose.post], ["error", "TypeError"]);
  });

  await step("image and script of another origin of the site", async () => {
    // A GET changes nothing, and the browser shows the other page nothing of it.
    assert.deepEqual([loose.statuses["Image GET"], loose.image, loose.read], [200, "error", "TypeError"]);
    assert.equal(loose.statuses["Script GET"], 200);
  });
});
