// Keeps open pages true, and makes some things quicker. Every page works without it.
"use strict";
(() => {
  const $ = (query, root = document) => root.querySelector(query);
  const all = (query, root = document) => [...root.querySelectorAll(query)];

  // Times as they lie from now.
  const about = (ms) => {
    const s = Math.floor(Math.abs(ms) / 1000);
    if (s < 60) return s + " s";
    if (s < 5400) return Math.round(s / 60) + " min";
    if (s < 129600) return Math.round(s / 3600) + " h";
    return Math.round(s / 86400) + " d";
  };
  const skew = { ms: 0 };
  const times = () => {
    for (const time of all("time[datetime]")) {
      const away = Date.parse(time.dateTime) - Date.now() - skew.ms;
      const text = Math.abs(away) < 1000 ? "now" : away > 0 ? "in " + about(away) : about(away) + " ago";
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(times, 10000);

  // Parts of the page that change are asked for anew whenever the server says that something has changed.
  const keep = {
    ignoreActiveValue: true,
    callbacks: {
      // What a person has opened stays open.
      beforeAttributeUpdated: (name, node) => !(name === "open" && node.tagName === "DETAILS"),
      beforeNodeMorphed: (node) => !(node.nodeType === 1 && node.matches("[popover]:popover-open, [data-log]")),
    },
  };
  let asking = false, again = false;
  const refresh = async () => {
    if (document.hidden) { again = true; return; }
    if (asking) { again = true; return; }
    asking = true;
    again = false;
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html", "x-charter-live": "1" }, credentials: "same-origin", signal: AbortSignal.timeout(15000) });
      if (answer.redirected && new URL(answer.url).pathname === "/login") { location.reload(); return; }
      if (!answer.ok) throw new Error("the server answered " + answer.status);
      {
        lost.remove();
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of all("[data-live]")) {
          const next = fresh.getElementById(part.id);
          if (!next) { part.replaceChildren(); continue; }
          if (next.innerHTML === part.innerHTML) continue;
          // A part that cannot be changed in place is put there anew: nothing stays that is not true any more.
          try { Idiomorph.morph(part, next.innerHTML, { morphStyle: "innerHTML", ...keep }); } catch (error) { console.error(error); part.replaceChildren(...next.childNodes); }
        }
        times();
      }
    } catch { $("main").prepend(lost); setTimeout(refresh, 5000); }
    asking = false;
    if (again) setTimeout(refresh, 400);
  };
  const lost = document.createElement("div");
  lost.className = "said warn";
  lost.setAttribute("role", "status");
  lost.textContent = "The server does not answer. What is shown is as it was; it is tried again.";
  let since = 0, events = null;
  // A page that nobody sees holds no connection: a browser has few of them for all its pages together.
  const listen = () => {
    if (document.hidden || events) return;
    events = new EventSource("/live");
    events.addEventListener("changed", refresh);
    events.addEventListener("tick", refresh);
    events.onopen = () => { if (since) refresh(); since = 0; lost.remove(); };
    events.onerror = () => {
      since = since || Date.now();
      if (Date.now() - since > 2000) $("main").prepend(lost);
      if (events?.readyState === EventSource.CLOSED) { events = null; setTimeout(listen, 2000); }
    };
  };
  const silent = () => { events?.close(); events = null; };
  if ($("[data-live]")) {
    listen();
    addEventListener("pagehide", silent);
    addEventListener("pageshow", (event) => { if (event.persisted) { listen(); refresh(); } });
    document.addEventListener("visibilitychange", () => { if (document.hidden) silent(); else { listen(); refresh(); } });
  }

  // Copying: what stands in the page, or what an address answers.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    try {
      const from = button.dataset.copyFrom;
      const text = from ? JSON.stringify(await (await fetch(from)).json(), null, 2) : button.dataset.copy;
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch { button.textContent = button.dataset.copyFrom ? "Download it" : "Select it, and copy"; }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  // Searching as one types.
  for (const field of all("[data-search]")) {
    let timer;
    field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => {
      const url = new URL(location.href);
      field.value ? url.searchParams.set("q", field.value) : url.searchParams.delete("q");
      url.searchParams.delete("from");
      history.replaceState(null, "", url);
      refresh();
    }, 200); });
  }

  // Logs that are followed.
  for (const log of all("pre[data-log]")) {
    const card = log.closest(".card");
    const follow = $("[data-follow]", card), mark = $("[data-mark]", card);
    if (!("all" in log.dataset)) log.textContent = "";
    const shown = log.textContent;
    let first = shown.length > 0;
    const most = 4000;
    const row = (text) => {
      const line = document.createElement("div");
      line.textContent = text;
      if (mark?.value && text.toLowerCase().includes(mark.value.toLowerCase())) line.className = "hit";
      return line;
    };
    if (first) log.replaceChildren(...shown.split("\n").map(row));
    const down = () => { if (!follow || follow.checked) log.scrollTop = log.scrollHeight; };
    down();
    let events = null, last = "";
    const hear = () => {
      if (document.hidden || events) return;
      events = new EventSource(log.dataset.log + (last ? "?from=" + encodeURIComponent(last) : ""));
      events.onmessage = take;
    };
    const take = (event) => {
      last = event.lastEventId || last;
      // What stands there already is not shown twice.
      let lines = event.data.split("\n");
      if (first) { first = false; const known = new Set(shown.split("\n")); lines = lines.filter((line) => !known.has(line)); }
      log.append(...lines.map(row));
      while (log.childElementCount > most) log.firstElementChild.remove();
      down();
    };
    log.addEventListener("scroll", () => { if (follow && log.scrollTop + log.clientHeight < log.scrollHeight - 40) follow.checked = false; });
    follow?.addEventListener("change", down);
    mark?.addEventListener("input", () => { for (const line of log.children) line.className = mark.value && line.textContent.toLowerCase().includes(mark.value.toLowerCase()) ? "hit" : ""; });
    const deaf = () => { events?.close(); events = null; };
    addEventListener("pagehide", deaf);
    document.addEventListener("visibilitychange", () => { if (document.hidden) deaf(); else hear(); });
    hear();
  }

  // What a form would come to, beside it.
  for (const form of all("form[data-check]")) {
    const into = $("#check");
    let timer, turn = 0;
    const ask = async () => {
      const mine = ++turn;
      into.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(form.dataset.check, { method: "POST", body: new URLSearchParams(new FormData(form)), credentials: "same-origin" });
        const text = await answer.text();
        if (mine === turn && answer.headers.get("content-type")?.startsWith("text/html")) into.innerHTML = text;
      } catch { if (mine === turn) into.textContent = "The server does not answer."; }
      if (mine === turn) into.setAttribute("aria-busy", "false");
    };
    const soon = () => { clearTimeout(timer); timer = setTimeout(ask, 500); };
    form.addEventListener("input", soon);
    form.addEventListener("change", soon);
    if (form.elements.model?.value) ask();
  }

  // The playground.
  for (const form of all("form[data-ask]")) {
    const into = $("[data-answer]"), way = $("[data-way]"), speed = $("[data-speed]"), stop = $("[data-stop]", form);
    let leave = null;
    stop.addEventListener("click", () => leave?.abort());
    const tell = (pairs) => way.replaceChildren(...pairs.filter(([, value]) => value !== undefined && value !== null && value !== "").flatMap(([name, value]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
      dt.textContent = name;
      dd.textContent = value;
      return [dt, dd];
    }));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      leave?.abort();
      leave = new AbortController();
      const begun = performance.now();
      let told = {}, first = 0, pieces = 0, usage = null, text = null;
      into.textContent = "";
      into.setAttribute("aria-busy", "true");
      stop.hidden = false;
      const show = () => {
        const h = told.headers ?? {}, took = (performance.now() - begun) / 1000;
        tell([["Plan", h["x-charter-plan"] ?? "the model was named"], ["Answered by", h["x-charter-backend"]], ["Tried before", h["x-charter-attempts"]], ["Request", h["x-request-id"]],
          ["First token", first ? Math.round(first) + " ms" : ""], ["Tokens", usage ? usage.prompt_tokens + " read, " + usage.completion_tokens + " written" : ""], ["Took", took.toFixed(1) + " s"], ["Cost", told.cost]]);
        if (first && pieces > 1) speed.textContent = ((usage?.completion_tokens ?? pieces) / Math.max(0.001, took - first / 1000)).toFixed(1) + " tok/s";
      };
      const on = (name, data) => {
        if (name === "plan") told = { ...told, ...data };
        if (name === "text" || name === "thought") {
          if (!first) first = performance.now() - begun;
          pieces += 1;
          if (!text || text.dataset.kind !== name) { text = document.createElement("span"); text.dataset.kind = name; if (name === "thought") text.className = "soft"; into.append(text); }
          text.append(data.text);
        }
        if (name === "usage") usage = data;
        if (name === "cost") told.cost = data.text;
        if (name === "error") { const bad = document.createElement("p"); bad.className = "said bad"; bad.setAttribute("role", "alert"); bad.textContent = data.message; into.append(bad); }
        show();
      };
      try {
        const answer = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), signal: leave.signal, credentials: "same-origin" });
        if (!answer.ok) { const why = await answer.json().catch(() => ({})); throw new Error(why.title ?? "the server answered " + answer.status); }
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        let held = "";
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          held += value;
          for (let end; (end = held.indexOf("\n\n")) >= 0; held = held.slice(end + 2)) {
            const event = held.slice(0, end), name = /^event: (.*)$/m.exec(event)?.[1], data = /^data: (.*)$/m.exec(event)?.[1];
            if (name && data) on(name, JSON.parse(data));
          }
        }
      } catch (error) { if (error.name !== "AbortError") on("error", { message: error.message }); else on("error", { message: "You stopped it." }); }
      into.setAttribute("aria-busy", "false");
      stop.hidden = true;
    });
    form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit(); });
  }
})();
