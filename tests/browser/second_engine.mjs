// The page in Firefox, over WebDriver BiDi: `node second_engine.mjs FIREFOX ADDRESS FOLDER`. Walks through the screens
// at two widths and in both themes, keeps a picture of each in FOLDER, and prints what went wrong as a JSON list.
import puppeteer from "puppeteer-core";

const [firefox, address, folder] = process.argv.slice(2);
const faults = [];
const SCREENS = {
  wide: { width: 1440, height: 900, isDark: false },
  phone: { width: 390, height: 844, isDark: true },
};

for (const [name, { width, height, isDark }] of Object.entries(SCREENS)) {
  const browser = await puppeteer.launch({
    browser: "firefox",
    executablePath: firefox,
    headless: true,
    extraPrefsFirefox: { "layout.css.prefers-color-scheme.content-override": isDark ? 0 : 1 },
  });
  const page = await browser.newPage();
  page.on("pageerror", (error) => faults.push(`${name}: ${error.message}`));
  page.on("console", (line) => line.type() === "error" && faults.push(`${name}: ${line.text()}`));
  page.setDefaultTimeout(60_000);
  await page.setViewport({ width, height });
  const shot = (what) => page.screenshot({ path: `${folder}/firefox-${name}-${what}.png` });
  const shown = (selector) => page.waitForSelector(`>>> ${selector}`, { visible: true });
  const count = (selector) => page.$$(`>>> ${selector}`).then((found) => found.length);
  const step = async (what, walk) => {
    try {
      await walk();
      await shot(what);
    } catch (error) {
      faults.push(`${name}, ${what}: ${error.message}`);
      await shot(`${what}-failed`);
    }
  };

  await step("start", async () => {
    await page.goto(address);
    await shown("input[type=search], [role=combobox]");
  });
  await step("results", async () => {
    await page.type(">>> [role=combobox]", "lighthouse");
    await page.keyboard.press("Enter");
    await shown(".results:not([aria-busy]) .card img");
    if (!(await count(".card"))) faults.push(`${name}: no results`);
  });
  await step("viewer", async () => {
    await (await shown(".card a.open")).click();
    await shown(".viewer");
    await page.keyboard.press("ArrowRight");
  });
  await step("closed", async () => {
    await page.keyboard.press("Escape");
    await page.waitForSelector(">>> .viewer", { hidden: true });
  });
  await step("map", async () => {
    await (await shown("button[data-key=map]")).click();
    await shown(".map");
  });
  await step("video", async () => {
    await page.goto(`${address}/?q=type:video`);
    await (await shown(".card a.open")).click();
    await shown(".viewer video");
    await page.waitForFunction(
      () => document.querySelector("#sightline").shadowRoot.querySelector(".viewer video")?.currentTime > 0,
    );
  });
  for (const view of ["library", "settings"]) {
    await step(view, async () => {
      await page.goto(`${address}/?view=${view}`);
      await shown("h1, h2");
    });
  }
  await browser.close();
}
console.log(JSON.stringify(faults));
