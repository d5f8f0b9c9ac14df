// Every page and action of the console: screenshots, axe-core, the policy, and what a browser says of it.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { appendFileSync, readFileSync } from "node:fs";
import { given, run, step } from "./browser.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const desktop = { width: 1280, height: 900 }, phone = { width: 390, height: 844 };
const pages = [
  "/", "/console/refusals", `/console/refusals/${given.refused}`, "/console/routes", "/console/issuers",
  "/console/upstreams", "/console/codes", "/console/revocations", "/console/config", "/console/inspect",
];

// watched is a page whose complaints are kept: errors of its script, of files that are missing, of the policy.
async function watched(browser, options) {
  const context = await browser.newContext(options);
  await context.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (m) => m.type() === "error" && page.complaints.push(m.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  page.on("request", (r) => r.url().startsWith(given.console) || page.complaints.push(`asks for ${r.url()}`));
  return page;
}

async function signIn(page) {
  await page.goto(given.console);
  await page.waitForSelector("#token:focus"); // it has the focus without a click
  await page.keyboard.type(given.token);
  assert.equal(await page.inputValue("#token"), given.token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("nav");
  await remember(page);
}

// remember tells the test what secrets the gate has made for this browser.
async function remember(page) {
  const csrf = await page.$$eval("input[type=hidden]", (all) => all.map((input) => input.value));
  const made = [...(await page.context().cookies()).map((c) => c.value), ...new Set(csrf)].filter((s) => s.length >= 16);
  assert.ok(made.length >= 2, `only ${made.length} secrets`);
  appendFileSync(given.made, made.join("\n") + "\n");
}

// looks checks what a page shows: not blank, not wider than its window. It returns how bright most of it is.
async function looks(page, path) {
  const picture = await page.screenshot({ fullPage: true });
  const { colors, light, wide, high } = await page.evaluate(async (data) => {
    const bitmap = await createImageBitmap(await (async () => {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      return new Blob([bytes], { type: "image/png" });
    })());
    const canvas = new OffscreenCanvas(Math.ceil(bitmap.width / 4), Math.ceil(bitmap.height / 4));
    const drawn = canvas.getContext("2d");
    drawn.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const pixels = new Uint32Array(drawn.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const green = Array.from(pixels, (p) => p >> 8 & 255).sort((a, b) => a - b);
    const light = green[green.length >> 1];
    return { colors: new Set(pixels).size, light, wide: bitmap.width, high: bitmap.height };
  }, picture.toString("base64"));
  const width = page.viewportSize().width;
  assert.ok(colors > 20, `${path} is blank: ${colors} colors`);
  assert.ok(wide === width && high >= 600 && high < 20000, `${path}: ${wide} x ${high}, in a window of ${width}`);
  return light;
}

async function accessible(page, path) {
  const found = await page.evaluate(`(() => { ${axe}; })(), axe.run(document, { resultTypes: ["violations"] })`);
  const bad = found.violations.filter((v) => ["serious", "critical", "moderate"].includes(v.impact));
  assert.deepEqual(bad.map((v) => [v.id, v.nodes.map((n) => n.html.slice(0, 200))]), [], path);
}

const secretless = async (page, path) => without(await page.content(), path, given.secrets);

function without(text, where, secrets) {
  for (const secret of secrets) assert.ok(!text.includes(secret), `${where} has a secret`);
}

// events reads the first few events of the stream.
const events = (page) => page.evaluate(async () => {
  const gone = new AbortController();
  const reader = (await fetch("/console/events", { signal: gone.signal })).body.getReader();
  let text = "";
  for (const decoder = new TextDecoder(); text.split("data: ").length < 4;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`the stream ended: ${text}`);
    text += decoder.decode(value, { stream: true });
  }
  gone.abort();
  return text;
});

run(async (browser) => {
  await step("sign-in", async () => {
    const page = await watched(browser, { viewport: desktop });
    await page.goto(given.console);
    await looks(page, "sign-in");
    await accessible(page, "sign-in");
    await page.fill("#token", given.wrong);
    await page.click("button");
    await page.waitForSelector("[role=alert]");
    page.complaints = []; // the 401
    await signIn(page);
    const cookies = await page.context().cookies();
    assert.deepEqual(cookies.map((c) => [c.name, c.httpOnly, c.sameSite]), [["jotgate_console", true, "Strict"]]);
    assert.equal(await page.evaluate(() => document.cookie), "");
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  for (const [name, options] of Object.entries({
    "pages, light": { viewport: desktop, colorScheme: "light" },
    "pages, dark": { viewport: desktop, colorScheme: "dark" },
    "pages, light, on a phone": { viewport: phone, colorScheme: "light", isMobile: true, hasTouch: true },
    "pages, dark, on a phone": { viewport: phone, colorScheme: "dark", isMobile: true, hasTouch: true },
  })) {
    await step(name, async () => {
      const page = await watched(browser, options);
      await signIn(page);
      for (const path of pages) {
        const answer = await page.goto(given.console + path);
        assert.equal(answer.status(), 200, path);
        const light = await looks(page, path);
        assert.ok(options.colorScheme === "light" ? light > 150 : light < 100, `${path}: brightness ${light}`);
        await accessible(page, path);
        await secretless(page, path);
        assert.deepEqual(page.complaints, [], path);
      }
      await page.context().close();
    });
  }

  const page = await watched(browser, { viewport: desktop });
  await signIn(page);

  await step("live", async () => {
    await page.goto(given.console);
    await page.waitForSelector("#live.on");
    const before = await page.textContent("[data-live=refused-total]");
    await fetch(`${given.gate}/nowhere`);
    await page.waitForFunction((was) =>
      document.querySelector("[data-live=refused-total]").textContent !== was, before, { timeout: 60000 });
    const made = readFileSync(given.made, "utf8").split("\n").filter(Boolean);
    const told = await events(page);
    assert.match(told, /^data: \{/);
    without(told, "an event", [...given.secrets, ...made]);
  });

  await step("filter and trace", async () => {
    await page.goto(`${given.console}/console/refusals`);
    await page.selectOption("#reason", "tenant_denied");
    await page.fill("#subject", "alice");
    await page.click("form.filter button");
    await page.click("ol.refusals a");
    await page.waitForSelector("ol.steps .bad");
    assert.match(await page.textContent("main"), /tenant_denied/);
  });

  await step("matrix", async () => {
    await page.goto(`${given.console}/console/routes`);
    await page.selectOption("#holder", "role reader of a tenant");
    await page.click("form.inline button");
    await page.waitForSelector("table.matrix .mark.part");
  });

  await step("revoke and undo", async () => {
    await page.goto(`${given.console}/console/revocations`);
    await page.selectOption("#kind", "subject");
    await page.fill("#value", "mallory");
    await page.click("button.danger");
    await page.waitForSelector(".alert.ok");
    await page.fill("#search", "mallory");
    await page.press("#search", "Enter");
    await page.click("button[aria-label='Undo the mark on subject mallory']");
    await page.waitForSelector(".alert.ok");
    assert.ok(!(await page.textContent("main")).includes("mallory"));
  });

  await step("inspect", async () => {
    await page.goto(`${given.console}/console/inspect`);
    await page.fill("#token", given.secrets[1]);
    await page.click("main button");
    await page.waitForSelector("main .tag.ok");
    await secretless(page, "the answer");
    await accessible(page, "the answer");
  });

  await step("keyboard", async () => {
    await page.goto(given.console);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    const reached = new Set();
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Shift+Tab");
      reached.add(await page.evaluate(() => document.activeElement.textContent.trim()));
    }
    for (const name of ["Overview", "Inspect", "Sign out"]) assert.ok(reached.has(name), name);
  });

  await step("without a script", async () => {
    const plain = await watched(browser, { viewport: phone, javaScriptEnabled: false });
    await plain.goto(given.console);
    await plain.fill("#token", given.token);
    await plain.press("#token", "Enter");
    await plain.waitForURL(`${given.console}/`);
    for (const path of pages) assert.equal((await plain.goto(given.console + path)).status(), 200, path);
    await plain.context().close();
  });

  await step("sign-out", async () => {
    assert.deepEqual(page.complaints, []);
    await page.click("text=Sign out");
    await page.waitForSelector("#token");
    assert.deepEqual(await page.context().cookies(), []);
  });
});
