// What every script here begins with: a headless Chromium, and steps that are told to the test.
import { chromium } from "playwright-core";

// given is what the test says.
export const given = JSON.parse(process.argv[2]);

// run starts a browser, in which the names under .test are this machine, gives it to play, and closes it.
export async function run(play) {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    chromiumSandbox: false,
    args: [
      "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP *.test 127.0.0.1",
    ],
  });
  try {
    await play(browser);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    // A browser with open streams may take its time. At the end of the process it is killed.
    await Promise.race([browser.close(), new Promise((done) => setTimeout(done, 5_000))]);
    process.exit(process.exitCode ?? 0);
  }
}

// step tells the test that a step passed, or ends the script.
export async function step(name, check) {
  await check();
  console.log(`ok ${name}`);
}

// open shows a page of the URL in a profile of its own. Certificates count whatever their signer.
export async function open(browser, url) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error("page:", error));
  await page.goto(url);
  return page;
}
