// What a script of another origin may do, and what it can read of a refusal.
import assert from "node:assert/strict";
import { given, open, run, step } from "./browser.mjs";

// call is fetch in a page: the status, two fields of the answer and its body, or the error that the script gets.
const call = (page, url, options) =>
  page.evaluate(async ([url, options]) => {
    try {
      const answer = await fetch(url, options);
      const field = (name) => answer.headers.get(name);
      return {
        status: answer.status, challenge: field("WWW-Authenticate"), id: field("X-Request-Id"), body: await answer.text(),
      };
    } catch (error) {
      return { error: error.name };
    }
  }, [url, options]);

run(async (browser) => {
  const page = await open(browser, given.page);
  const headers = { Authorization: `Bearer ${given.token}`, "Content-Type": "application/json" };
  const orders = `${given.api}acme/orders`;
  await step("preflight and good call", async () => {
    const put = await call(page, orders, { method: "PUT", headers, body: "{}" });
    assert.deepEqual([put.status, put.body], [200, "page"]);
    assert.ok(put.id);
    assert.equal((await call(page, orders, { headers })).status, 200);
  });
  await step("readable 401", async () => {
    const none = await call(page, orders);
    assert.deepEqual([none.status, none.challenge], [401, `Bearer realm="jotgate", ${given.metadata}`]);
    assert.equal(JSON.parse(none.body).status, 401);
    const bad = await call(page, orders, { headers: { Authorization: "Bearer nonsense" } });
    assert.match(bad.challenge, /error="invalid_token"/);
  });
  await step("readable 403", async () => {
    const other = await call(page, `${given.api}other/orders`, { headers });
    assert.equal(other.status, 403);
    assert.equal(JSON.parse(other.body).request_id, other.id);
  });
  await step("readable 405", async () => {
    // POST needs no leave of a preflight, and so the script reads the answer itself; DELETE does not get that far.
    assert.equal((await call(page, orders, { method: "POST", headers, body: "{}" })).status, 405);
    assert.deepEqual(await call(page, orders, { method: "DELETE", headers }), { error: "TypeError" });
  });
  await step("an origin that is not listed", async () => {
    const stranger = await open(browser, given.stranger);
    assert.deepEqual(await call(stranger, orders, { headers }), { error: "TypeError" });
    assert.deepEqual(await call(stranger, orders), { error: "TypeError" });
  });
  await step("a ticket over h2", async () => {
    const gate = new URL(given.api).origin;
    const body = JSON.stringify({ request: "GET /live/acme/news" });
    const drawn = await call(page, `${gate}/api/v1/tickets`, { method: "POST", headers, body });
    assert.equal(drawn.status, 201);
    const url = gate + JSON.parse(drawn.body).url;
    assert.equal((await call(page, url)).status, 200);
    assert.equal((await call(page, url)).status, 401);
    assert.equal((await call(page, `${gate}/api/v1/tickets`, { method: "POST", body: "{}" })).status, 415);
  });
  // The 401 comes before the body was read, and has to reach the script all the same.
  const cdp = await page.context().newCDPSession(page);
  await cdp.send("Network.enable");
  for (const [protocol, url] of [["h2", orders], ["http/1.1", given.old]]) {
    await step(`20 of 20 early answers over ${protocol}`, async () => {
      const protocols = new Set();
      const note = (event) => event.response.status === 401 && protocols.add(event.response.protocol);
      cdp.on("Network.responseReceived", note);
      const statuses = await page.evaluate(async (url) => {
        const all = [];
        for (let i = 0; i < 20; i++) {
          const answer = await fetch(url, { method: "PUT", body: new Uint8Array(1 << 20) });
          all.push(answer.status, (await answer.json()).status);
        }
        return all;
      }, url);
      cdp.off("Network.responseReceived", note);
      assert.deepEqual(statuses, Array(40).fill(401));
      assert.deepEqual([...protocols], [protocol]);
    });
  }
});
