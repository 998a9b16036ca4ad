"""Measures the dashboard: its weight, how soon it can be used on a slow computer, what open pages cost, and long lists."""
import json, os, re, socket, subprocess, sys, time, urllib.request
from playwright.sync_api import sync_playwright

URL, KEY, PID, CHROMIUM = os.environ["URL"], os.environ["KEY"], int(os.environ["PID"]), os.environ["CHROMIUM"]
HOST, PORT = re.match(r"http://(.*):(\d+)", URL).groups()
told, missed = [], []


def resident_kb():
    return int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{PID}/status").read()).group(1))


def tell(what, value, unit, limit=None):
    kept = "" if limit is None else (f"   (limit {limit}) " + ("ok" if value <= limit else "MISSED"))
    print(f"{value:10.1f} {unit:6s} {what}{kept}", flush=True)
    if limit is not None and value > limit:
        missed.append(what)


def enter(page):
    page.goto(URL + "/login")
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(URL + "/")


def pages(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    enter(context.new_page())
    for name, path in (("overview", "/"), ("deploy", "/deploy"), ("gateway", "/gateway"), ("spend", "/spend")):
        page = context.new_page()
        client = context.new_cdp_session(page)
        client.send("Network.enable")
        client.send("Network.setCacheDisabled", {"cacheDisabled": True})
        client.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        loads = {}
        client.on("Network.responseReceived", lambda e: loads.setdefault(e["requestId"], [e["response"]["url"], 0]))
        client.on("Network.loadingFinished", lambda e: loads.get(e["requestId"], [0, 0]).__setitem__(1, e["encodedDataLength"]))
        page.goto(URL + path, wait_until="load")
        page.wait_for_timeout(300)
        timing = page.evaluate("(() => { const t = performance.getEntriesByType('navigation')[0]; const p = performance.getEntriesByName('first-contentful-paint')[0];"
                               " return [t.domInteractive, t.domContentLoadedEventEnd, p ? p.startTime : 0]; })()")
        tell(f"{name}: first load, gzip", sum(v[1] for v in loads.values()) / 1024, "KB", 150)
        tell(f"{name}: requests, with the stream of changes", len(loads), "", 5)
        tell(f"{name}: first paint at 4 x slowdown", timing[2], "ms")
        tell(f"{name}: usable at 4 x slowdown", timing[1], "ms", 1000)
        page.close()
    cookie = "; ".join(f"{c['name']}={c['value']}" for c in context.cookies())
    context.close()
    return cookie


def begun(path, headers, count):
    """Opens so many streams; each of them has begun."""
    open_ = []
    for _ in range(count):
        s = socket.create_connection((HOST, int(PORT)))
        s.sendall(f"GET {path} HTTP/1.1\r\nhost: {HOST}:{PORT}\r\n{headers}\r\n\r\n".encode())
        # One after the other, as people open pages.
        assert s.recv(12) == b"HTTP/1.1 200", "a stream did not begin"
        open_.append(s)
    time.sleep(1)
    return open_


def streams(cookie, count=1000):
    kinds = (("streams of events", "/api/v1/events", f"authorization: Bearer {KEY}"), ("open tabs", "/live", f"cookie: {cookie}"))
    all_ = []
    for what, path, headers in kinds:
        # What the first ones cost is code that is read from the disk, once.
        all_ += begun(path, headers, 50)
        before = resident_kb()
        all_ += begun(path, headers, count)
        tell(f"each of {count} {what}", (resident_kb() - before) / count, "KB", 20)
    slowest = 0
    for _ in range(50):
        start = time.perf_counter()
        urllib.request.urlopen(urllib.request.Request(URL + "/api/v1/status", headers={"authorization": "Bearer " + KEY})).read()
        slowest = max(slowest, (time.perf_counter() - start) * 1000)
    tell(f"the API's slowest answer beside {len(all_)} of them", slowest, "ms", 100)
    for s in all_:
        s.close()


def lists(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    enter(page)
    for name, path in (("first page of 10,000", "/?all=true"), ("page 100 of 200", "/?all=true&from=5000"), ("search in 10,000", "/?all=true&q=fleet-09")):
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            page.goto(URL + path, wait_until="domcontentloaded")
            times.append((time.perf_counter() - begun) * 1000)
        tell(f"{name}, in the browser", sorted(times)[2], "ms", 500)
    assert "10,000" in page.locator("main").inner_text() or page.locator("#deployments tr").count() > 1
    context.close()


with sync_playwright() as driver:
    browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"])
    if os.environ["WHAT"] == "pages":
        streams(pages(browser))
    else:
        lists(browser)
    browser.close()
print("missed: " + "; ".join(missed) if missed else "every limit is kept")
sys.exit(1 if missed else 0)
