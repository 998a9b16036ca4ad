"""What a person does in the dashboard, in a real browser. Told by the environment where everything is."""
import http.server, json, os, re, sys, threading, urllib.request
from playwright.sync_api import sync_playwright, expect

URL, KEY, BED, BED_KEY = (os.environ[name] for name in ("URL", "KEY", "BED", "BED_KEY"))
FILE, SHOTS, AXE, STRAY = (os.environ[name] for name in ("FILE", "SHOTS", "AXE", "STRAY"))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
PAGES = {"overview": "/", "deploy": "/deploy?profile=demo", "deployment": "/deployments/web", "log": "/deployments/web/log",
         "playground": "/playground", "gateway": "/gateway", "spend": "/spend", "market": "/market", "upgrades": "/upgrades",
         "machines": "/machines", "requests": "/requests", "refusal": "/nowhere", "keys": "/keys", "events": "/events", "settings": "/settings", "api": "/api/docs", "error": "/errors/A0003"}
faults = []


class Backend(http.server.BaseHTTPRequestHandler):
    """A backend of somebody else's, as far as it is asked to register."""
    def do_GET(self):
        body = json.dumps({"object": "list", "data": [{"id": "other-model", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def watch(page):
    """No page may complain, ask for anything elsewhere, or run what was smuggled into it."""
    page.on("console", lambda m: faults.append(("console", m.text)) if m.type == "error" and not any(status in m.text for status in ("401", "403", "404", "405", "409", "422")) else None)
    page.on("pageerror", lambda e: faults.append(("page", str(e))))
    page.on("dialog", lambda d: (faults.append(("dialog", d.message)), d.dismiss()))
    page.on("request", lambda r: faults.append(("elsewhere", r.url)) if not r.url.startswith((URL, "data:", "blob:")) else None)
    return page


def enter(page):
    page.goto(URL + "/login")
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()


def said(page, text, role="status"):
    expect(page.locator(f"main [role={role}]").first).to_contain_text(text, timeout=20000)


def step(name):
    print("step:", name, flush=True)


def the_door(page):
    step("a wrong key is refused, a right one lets in, and leads to where one wanted")
    page.goto(URL + "/spend")
    expect(page).to_have_url(re.compile("/login"))
    page.get_by_label("Key").fill("chk_wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("unknown, revoked or expired")
    serious(page, "login", 1280, "light")
    page.get_by_label("Key").fill(KEY)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Spend", level=1)).to_be_visible()


def deploy(page, name="web"):
    step(f"`{name}` is deployed from the form, and is seen to become ready without a reload")
    page.goto(URL + "/deploy")
    # A name that no hub has is refused, and told as text.
    page.locator("[name=model]").fill("demo/<img src=x onerror=alert(4)>-7B")
    expect(page.locator("#check")).to_contain_text("<img src=x onerror=alert(4)>-7B is no model", timeout=20000)
    page.locator("[name=model]").fill("demo/stand-in-7B")
    page.locator("[name=name]").fill(name)
    page.locator("[name=served-name]").fill(name + "-model")
    page.locator("[name=owner]").fill("<img src=x onerror=alert(1)>")
    page.locator("[name=max-price]").fill("0.30")
    page.locator("[name=min-vram]").fill("24GB")
    page.get_by_text("Cards, disk, an offer").click()
    page.locator("[name=disk]").fill("40GB")
    page.get_by_text("Extra arguments, adapters, environment").click()
    page.locator("[name=env]").fill("STANDIN_START_MS=900\nSTANDIN_TOKEN_MS=20")
    check = page.locator("#check")
    expect(check).to_contain_text("Would run on", timeout=20000)
    expect(check).to_contain_text("/h")
    expect(check).to_contain_text("the newest now")
    page.get_by_role("button", name="Deploy", exact=True).click()
    said(page, "is on its way")
    page.evaluate("window.never = 'loaded again'")
    expect(page.locator("#state .sign.good")).to_have_text("running", timeout=60000)
    assert page.evaluate("window.never") == "loaded again", "it was seen live"
    expect(page.locator("#facts")).to_contain_text("answers requests")
    # What can be done follows what is: the machine costs something by now, and ending it says so.
    page.get_by_role("button", name="End…").click()
    expect(page.locator("[popover]:popover-open")).to_contain_text("/h are spent no more")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("[popover]:popover-open")).to_have_count(0)
    expect(page.locator("#steps li.done", has_text="loading")).to_contain_text("·")


def ask(page, name="web"):
    step("it is asked in the playground; plan, tokens and cost are shown")
    page.goto(URL + f"/playground?model={name}-model")
    page.locator("[name=question]").fill("What is the capital of France?")
    page.locator("[name=max_tokens]").fill("12")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("[data-answer]")).to_contain_text(re.compile(r"\w+"), timeout=20000)
    expect(page.locator("[data-way]")).to_contain_text("Tokens", timeout=20000)
    expect(page.locator("[data-way]")).to_contain_text("Answered by")
    expect(page.locator("[data-answer]")).to_have_attribute("aria-busy", "false", timeout=20000)


def log(page, name="web"):
    step("the log is followed, searched and downloaded; no terminal codes, no noise")
    page.goto(URL + f"/deployments/{name}")
    expect(page.locator("pre.log")).to_contain_text("startup complete", timeout=30000)
    page.goto(URL + f"/deployments/{name}/log")
    expect(page.locator("pre.log div").first).to_be_visible()
    page.locator("[data-follow]").uncheck()
    page.goto(URL + f"/deployments/{name}/log?q=startup")
    lines = page.locator("pre.log").text_content().splitlines()
    assert lines and all("startup" in line.lower() for line in lines), lines
    assert re.match(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[engine\] ", lines[0]), lines[0]
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the whole log").click()
    text = open(download.value.path()).read()
    assert "startup complete" in text and "\x1b" not in text and "GET /health" not in text, text[:500]


def hostile(page):
    step("what an engine writes into its log, and what charter quotes of it, is text")
    page.goto(URL + "/deploy")
    for name, value in (("model", "demo/stand-in-7B"), ("name", "hostile"), ("served-name", "hostile"), ("max-price", "0.30"), ("min-vram", "24GB")):
        page.locator(f"[name={name}]").fill(value)
    page.get_by_text("Extra arguments, adapters, environment").click()
    page.locator("[name=extra-args]").fill("--x=<img src=x onerror=alert(3)>")
    page.get_by_role("button", name="Deploy", exact=True).click()
    said(page, "is on its way")
    expect(page.locator("#cause")).to_contain_text("<img src=x onerror=alert(3)>", timeout=60000)
    page.goto(URL + "/deployments/hostile/log")
    expect(page.locator("pre.log")).to_contain_text("<img src=x onerror=alert(3)>", timeout=20000)
    assert page.locator("main img").count() == 0, "a line of a log became a picture"
    page.goto(URL + "/deployments/hostile")
    page.get_by_role("button", name="End…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="End it").click()
    said(page, "is being ended")


def lease(page):
    step("it is given more time; what there is no money for is told before and after")
    page.goto(URL + "/deployments/web")
    page.get_by_role("button", name="+4 h").click()
    said(page, "It stays until")
    expect(page.locator("#lease-now")).to_contain_text("in 5 h")
    page.goto(URL + "/deploy")
    page.locator("[name=model]").fill("demo/dear-7B")
    page.locator("[name=max-price]").fill("9")
    page.locator("[name=min-vram]").fill("80GB")
    expect(page.locator("#check")).to_contain_text("M0001", timeout=20000)
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.locator("main")).to_contain_text("month", timeout=20000)
    page.goto(URL + "/")
    expect(page.locator("#attention")).to_contain_text("over_budget", timeout=20000)
    expect(page.locator("#budget")).to_contain_text("limit $1.00")
    page.goto(URL + "/deployments/dear-7b")
    page.get_by_role("button", name="End…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="End it").click()
    said(page, "is being ended")


def upgrade(page):
    step("the file changes: drift, what-if, upgrade, generations, and back")
    page.goto(URL + "/deploy?profile=demo")
    page.get_by_role("button", name="Deploy", exact=True).click()
    said(page, "is on its way")
    expect(page.locator("#state .sign.good")).to_have_text("running", timeout=60000)
    text = open(FILE).read()
    open(FILE, "w").write(text.replace("max-model-len: 8192", "max-model-len: 16384"))
    page.goto(URL + "/")
    expect(page.locator("#attention")).to_contain_text("lags behind its file")
    page.locator("#attention").get_by_role("link", name="What if").first.click()
    expect(page.locator("#what-if")).to_contain_text("max-model-len")
    expect(page.locator("#what-if")).to_contain_text("16384")
    page.get_by_role("button", name="Upgrade…").click()
    page.locator("#go").get_by_role("button", name="Upgrade", exact=True).click()
    said(page, "has begun")
    expect(page.locator("#fleets .sign.good").first).to_have_text("upgraded", timeout=90000)
    page.goto(URL + "/deployments/demo")
    expect(page.locator("#gens li").first).to_contain_text("Generation 2")
    expect(page.locator("#gens li").first).to_contain_text("serving")
    page.locator("#gens").get_by_role("button", name="Back to it…").first.click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Go back").click()
    said(page, "goes back")
    expect(page.locator("#gens li").first).to_contain_text("Generation 3")
    expect(page.locator("#gens li").first.locator(".sign.good")).to_have_text("serving", timeout=90000)


def backend(page, port):
    step("a backend is registered and removed")
    page.goto(URL + "/gateway")
    page.locator("#hand [name=name]").fill("other")
    page.locator("#hand [name=url]").fill("http://127.0.0.1:1")
    page.get_by_role("button", name="Register").click()
    said(page, "does not answer", "alert")
    page.locator("#hand [name=name]").fill("other")
    page.locator("#hand [name=url]").fill(f"http://127.0.0.1:{port}")
    page.get_by_role("button", name="Register").click()
    said(page, "other-model")
    expect(page.locator("#routes")).to_contain_text("other-model")
    page.get_by_role("button", name="Remove…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Remove it").click()
    said(page, "registered no more")


def keys(page):
    step("a key is made, shown once, works, and is revoked")
    page.goto(URL + "/keys")
    page.get_by_label("Name", exact=True).fill("<script>alert(1)</script>")
    page.get_by_role("button", name="Make a key").click()
    secret = page.locator("#new-key").text_content()
    serious(page, "a key", 1280, "light")
    assert secret.startswith("chk_"), secret
    asked = urllib.request.Request(URL + "/api/v1/status", headers={"authorization": "Bearer " + secret})
    assert urllib.request.urlopen(asked).status == 200
    page.goto(URL + "/keys")
    assert secret not in page.content(), "it is shown once"
    row = page.locator("tr", has_text="<script>")
    row.get_by_role("button", name="Revoke…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Revoke it").click()
    said(page, "is revoked")
    try:
        urllib.request.urlopen(asked)
        raise AssertionError("a revoked key works")
    except urllib.error.HTTPError as error:
        assert error.code == 401, error.code


def beginnings(page):
    step("the form begins with what was set for everybody, or with a manifest that is pasted")
    page.goto(URL + "/settings")
    page.locator("[name=gpu_memory_utilization]").fill("1.5")
    page.get_by_role("button", name="Keep").click()
    said(page, "gpu_memory_utilization", "alert")
    for name, value in (("port", "19400"), ("gpu_memory_utilization", "0.85"), ("serve_for_hours", "8"), ("failed_restarts", "2")):
        page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="Keep").click()
    said(page, "begin with this now")
    page.goto(URL + "/deploy")
    for name, value in (("port", "19400"), ("option-gpu-memory-utilization", "0.85"), ("serve-for", "8"), ("limit-failed-restarts", "2")):
        expect(page.locator(f"[name={name}]")).to_have_value(value)
    page.get_by_role("button", name="A manifest…").click()
    page.locator("[name=manifest]").fill('{"schema": "charter.manifest/1", ')
    page.get_by_role("button", name="Fill in the form").click()
    said(page, "this is no manifest", "alert")
    manifest = page.request.get(URL + "/api/v1/deployments/demo/manifest").text()
    page.get_by_role("button", name="A manifest…").click()
    page.locator("[name=manifest]").fill(manifest)
    page.get_by_role("button", name="Fill in the form").click()
    expect(page.locator("[name=name]")).to_have_value("demo")
    expect(page.locator("[name=option-max-model-len]")).to_have_value("8192")
    expect(page.locator("[name=serve-for]")).to_have_value("")
    # Values never stand in a manifest: the one that is missing is told, and typed.
    expect(page.locator("#check")).to_contain_text("STANDIN_START_MS", timeout=20000)
    page.get_by_text("Extra arguments, adapters, environment").click()
    page.locator("[name=env]").fill("STANDIN_START_MS=900")
    expect(page.locator("#check")).to_contain_text("What happens", timeout=20000)
    page.goto(URL + "/settings")
    for name in ("port", "gpu_memory_utilization", "serve_for_hours", "failed_restarts"):
        page.locator(f"[name={name}]").fill("")
    page.get_by_role("button", name="Keep").click()
    said(page, "begin with this now")


def quarantine(page):
    step("what nobody knows is shown, told what it costs, and ended by a person's word")
    page.goto(URL + "/")
    needs = page.locator("#attention")
    expect(needs).to_contain_text("An instance that nobody knows", timeout=30000)
    expect(needs).to_contain_text(STRAY)
    needs.get_by_role("button", name="End it…").click()
    expect(page.locator("[popover]:popover-open")).to_contain_text("<img src=x onerror=alert(2)>")
    page.locator("[popover]:popover-open").get_by_role("button", name="End it", exact=True).click()
    said(page, "seen to be gone")
    expect(page.locator("#attention")).not_to_contain_text("An instance that nobody knows")


def order(page):
    step("what is in order and what is not; a backup is made, listed and removed")
    page.goto(URL + "/settings")
    expect(page.locator("#doctor")).to_contain_text("background tasks do their work")
    expect(page.locator("#doctor")).to_contain_text("are free for database and logs")
    page.get_by_role("button", name="Back up now").click()
    said(page, "The backup lies at")
    row = page.locator("#backups tr", has_text="charter-")
    expect(row).to_contain_text("backups/charter-")
    row.get_by_role("button", name="Remove…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Remove it").click()
    said(page, "is removed")


def machines(page):
    step("machines are listed and looked at; a command is run on one, and what it prints is text")
    page.goto(URL + "/machines")
    expect(page.locator("#machines")).to_contain_text("web")
    page.get_by_role("button", name="Look now").click()
    said(page, "are being asked")
    page.goto(URL + "/deployments/web")
    expect(page.locator("#ssh-now")).to_contain_text("charter ssh web")
    page.get_by_role("button", name="Run a command…").click()
    page.locator("[popover]:popover-open [name=command]").fill("printf '\\033[31m<img src=x onerror=alert(5)>\\n'; echo oops >&2; exit 3")
    page.get_by_role("button", name="Run it").click()
    expect(page.locator("main")).to_contain_text("it ended with status 3", timeout=20000)
    expect(page.locator("#stdout")).to_have_text("<img src=x onerror=alert(5)>")
    expect(page.locator("#stderr")).to_contain_text("oops")
    serious(page, "a command", 1280, "light")
    page.goto(URL + "/deployments/web")
    expect(page.locator("#facts")).to_contain_text("said to run printf on its machine by SSH; it ended with status 3")


def taken(page):
    step("what runs under a name is not replaced by another model without a word; an upgrade to nothing says so")
    page.goto(URL + "/deploy")
    for name, value in (("model", "demo/other-7B"), ("name", "web"), ("max-price", "0.30"), ("min-vram", "24GB")):
        page.locator(f"[name={name}]").fill(value)
    expect(page.locator("#check [role=alert]")).to_contain_text("demo/stand-in-7B", timeout=20000)
    page.get_by_role("button", name="Deploy", exact=True).click()
    said(page, "runs demo/stand-in-7B", "alert")
    expect(page.locator("[name=replace]")).to_be_visible()
    page.goto(URL + "/deployments/demo")
    page.get_by_role("button", name="Upgrade…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Upgrade", exact=True).click()
    expect(page.locator("main [role=status], main [role=alert]").first).to_contain_text(re.compile("nothing to do|has begun"), timeout=20000)


def requests(page):
    step("single requests are listed, and chosen by what they asked")
    page.goto(URL + "/requests")
    expect(page.locator("#rows tbody tr", has_text="web-model").first).to_contain_text("done")
    page.goto(URL + "/requests?deployment=nobody")
    expect(page.locator("#rows")).to_contain_text("No request fits")


def refusals(browser, page):
    step("what is not there, or not for this key, is a page; a viewer is led to nothing of the kind")
    assert page.goto(URL + "/nowhere").status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("There is nothing at this path")
    page.get_by_role("link", name="To the overview").click()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    made = urllib.request.Request(URL + "/api/v1/keys", data=json.dumps({"role": "viewer", "name": "looker"}).encode(),
                                  headers={"authorization": "Bearer " + KEY, "content-type": "application/json"})
    secret = json.load(urllib.request.urlopen(made))["key"]
    other = watch(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
    assert other.goto(URL + "/nowhere").url.endswith("/login?next=%2Fnowhere") or other.get_by_label("Key").count() == 0
    other.goto(URL + "/login")
    other.get_by_label("Key").fill(secret)
    other.get_by_role("button", name="Log in").click()
    expect(other.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    led = [link.get_attribute("href") for link in other.locator("nav[aria-label=Pages] a").all()]
    assert "/deploy" not in led and "/gateway" in led, led
    for path in led:
        assert other.goto(URL + path).status == 200, path
        expect(other.get_by_role("heading", level=1)).to_be_visible()
        serious(other, f"{path} for a viewer", 1280, "light")
    for path in ("/spend", "/deploy", "/machines", "/requests", "/keys"):
        assert other.goto(URL + path).status == 403, path
        expect(other.locator("main")).to_contain_text("What to do")
    assert other.goto(URL + "/deployments/web/run").status == 405
    expect(other.get_by_role("heading", level=1)).to_contain_text("only takes what a form sends")
    ask(other)
    other.goto(URL + "/gateway")
    other.get_by_role("button", name="What would happen…").click()
    other.locator("[popover]:popover-open [name=model]").fill("web-model")
    other.get_by_role("button", name="Explain").click()
    expect(other.locator("#told")).to_contain_text("web-model")
    other.context.close()


def panic(page):
    step("everything is ended by one word, and only by that word")
    page.goto(URL + "/machines")
    page.get_by_role("button", name="End everything…").click()
    expect(page.locator("[popover]:popover-open")).to_contain_text("are spent no more")
    page.locator("[popover]:popover-open [name=sure]").fill("end everything")
    page.locator("[popover]:popover-open").get_by_role("button", name="End everything").click()
    said(page, "being ended")
    expect(page.locator("#machines")).to_contain_text("Nothing stands anywhere", timeout=60000)
    for name, path in (("machines", "/machines"), ("overview", "/")):
        page.goto(URL + path)
        serious(page, f"an empty {name}", 1280, "light")


def without_scripts(browser):
    step("reading and forms work without scripts")
    page = watch(browser.new_context(java_script_enabled=False).new_page())
    enter(page)
    expect(page.locator("#deployments")).to_contain_text("web")
    page.goto(URL + "/deployments/web")
    page.get_by_role("button", name="no end").click()
    said(page, "It has no end now")
    page.goto(URL + "/deploy?profile=demo")
    page.get_by_role("button", name="Show it").click()
    expect(page.get_by_role("heading", name="What this would be", level=1)).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login"))


def serious(page, name, width, theme):
    """What is a serious hindrance for people who cannot see the page, or use no mouse."""
    # What is shown by scripts of the test is not subject to the page's own policy.
    found = page.evaluate(f"async () => {{ {open(AXE).read()}; const r = await axe.run(document, {{resultTypes: ['violations']}}); "
                          "return r.violations.filter(v => ['serious', 'critical'].includes(v.impact)).map(v => [v.id, v.impact, v.nodes.slice(0, 3).map(n => n.html.slice(0, 160))]); }")
    if found:
        faults.append(("axe", name, width, theme, found))


def look(browser):
    step("every page, wide and narrow, light and dark: nothing too wide, nothing serious for people who cannot see it")
    for width in (1280, 390, 2560):
        for theme in ("light", "dark"):
            page = watch(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, reduced_motion="reduce").new_page())
            enter(page)
            for name, path in PAGES.items():
                page.goto(URL + path)
                expect(page.get_by_role("heading", level=1)).to_be_visible()
                if name == "deploy":
                    expect(page.locator("#check")).to_contain_text("What happens", timeout=20000)
                page.screenshot(path=f"{SHOTS}/{name}-{width}-{theme}.png", full_page=True)
                twice = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, n, all) => all.indexOf(id) !== n)")
                assert not twice, f"{name} has two of {twice}"
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, f"{name} is {wide} pixels wide on a page of {width}"
                serious(page, name, width, theme)
                if name == "deployment":
                    page.get_by_role("button", name="End…").click()
                    serious(page, "a dialog", width, theme)
            page.context.close()


def end(page, name="web"):
    step("it is ended, and says what that costs before")
    page.goto(URL + f"/deployments/{name}")
    page.get_by_role("button", name="End…").click()
    expect(page.locator("[popover]:popover-open")).to_contain_text("/h are spent no more")
    page.locator("[popover]:popover-open").get_by_role("button", name="End it").click()
    said(page, "is being ended")
    expect(page.locator("#state .sign")).to_have_text("stopped", timeout=60000)
    expect(page.get_by_role("link", name="Deploy again")).to_be_visible()


def small(browser):
    step("the same on a telephone, in the dark")
    page = watch(browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True).new_page())
    enter(page)
    deploy(page, "small")
    ask(page, "small")
    log(page, "small")
    end(page, "small")
    page.context.close()


def ways(page):
    step("a port is opened and closed; a route is said, explained and forgotten")
    page.goto(URL + "/deployments/web")
    page.get_by_role("button", name="Open a port…").click()
    page.get_by_role("button", name="Open it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("A port to web")
    assert len(page.locator("#engine-key").text_content()) > 10
    page.get_by_role("link", name="Back").click()
    page.get_by_role("button", name="curl and Python…").click()
    page.get_by_text("Directly").click()
    expect(page.locator("[popover]:popover-open")).to_contain_text("http://127.0.0.1:")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Close the port…").click()
    page.get_by_role("button", name="Close it").click()
    said(page, "The port is closed")
    page.goto(URL + "/gateway")
    page.get_by_role("button", name="Another route…").click()
    form = page.locator("[popover]:popover-open")
    form.locator("[name=name]").fill("choose")
    form.get_by_text("Models by effort").click()
    form.locator("[name=tier-simple]").fill("web-model")
    form.locator("[name=fallback]").fill("web-model")
    form.get_by_role("button", name="Keep").click()
    said(page, "is answered so from now on")
    expect(page.locator("#said-now")).to_contain_text("simple → web-model")
    page.get_by_role("button", name="What would happen…").click()
    form = page.locator("[popover]:popover-open")
    form.locator("[name=model]").fill("choose")
    form.locator("[name=prompt]").fill("Prove that the square root of two is irrational, step by step.")
    form.get_by_role("button", name="Explain").click()
    expect(page.locator("#told")).to_contain_text("of 10")
    expect(page.locator("#told")).to_contain_text("web-model")
    page.goto(URL + "/gateway")
    page.get_by_role("button", name="Forget…").click()
    page.locator("[popover]:popover-open").get_by_role("button", name="Forget it").click()
    said(page, "is forgotten")


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=os.environ["CHROMIUM"], args=FLAGS)
        page = watch(browser.new_context(viewport={"width": 1280, "height": 900}).new_page())
        the_door(page)
        quarantine(page)
        deploy(page)
        ask(page)
        log(page)
        hostile(page)
        small(browser)
        ways(page)
        lease(page)
        upgrade(page)
        backend(page, server.server_address[1])
        keys(page)
        beginnings(page)
        order(page)
        machines(page)
        taken(page)
        requests(page)
        refusals(browser, page)
        without_scripts(browser)
        look(browser)
        end(page)
        panic(page)
        browser.close()
    assert not faults, "\n".join(str(fault) for fault in faults[:30])
    print("all is well")


main()
