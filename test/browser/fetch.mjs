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
});
