import json
import os

import openai

c = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["KEY"], max_retries=0)
steps = openai.OpenAI(base_url=os.environ["URL"] + "/v1", api_key=os.environ["AGENTIC"], max_retries=0)
TOOLS = [{"type": "function", "function": {"name": "weather.now", "description": "d", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def ask(model, text, client=c, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def text_of(chunks):
    return "".join(x.choices[0].delta.content or "" for x in chunks if x.choices)


# Plain, to an engine.
r = ask("small", "hello there", max_tokens=4)
assert r.choices[0].message.content and r.usage.completion_tokens == 4, r

# By effort: each way to say it. Nobody serves the hard tier here, and the chain goes on to the hosted API.
raw = c.chat.completions.with_raw_response.create(model="auto", messages=[{"role": "user", "content": "hi"}], max_tokens=4, extra_headers={"x-charter-effort": "2"})
assert raw.headers["x-charter-plan"] == "tier=reflex; model=small; effort=2", raw.headers
raw = c.chat.completions.with_raw_response.create(model="auto", messages=[{"role": "user", "content": "hi"}], max_tokens=40, extra_body={"effort": 9})
assert raw.headers["x-charter-plan"].startswith("tier=critical") and raw.headers["x-charter-backend"].startswith("anthropic/"), raw.headers
r = ask("auto", "hi", max_tokens=4, extra_body={"min_effort": 2})
assert r.choices, r

# Along chains to each hosted API, in its own language.
for model in ["to-gpt", "to-new-gpt", "to-claude", "to-old-claude"]:
    r = ask(model, "one two three", max_tokens=64)
    assert "one two three" in r.choices[0].message.content and r.choices[0].finish_reason == "stop", (model, r)
    assert r.usage.prompt_tokens > 0 and r.usage.completion_tokens > 0, (model, r)
    chunks = list(ask(model, "one two three", stream=True, max_tokens=64))
    assert "one two three" in text_of(chunks) and all(x.usage is None for x in chunks), (model, chunks)
    assert [x.choices[0].finish_reason for x in chunks if x.choices][-1] == "stop", (model, chunks)
    chunks = list(ask(model, "one two three", stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0, (model, chunks)
    # Tools, with names that not everybody allows, there and back.
    r = ask(model, "use a tool", tools=TOOLS, temperature=0.5)
    call = r.choices[0].message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather.now", {"city": "Bern"}), (model, r)
    assert r.choices[0].finish_reason == "tool_calls", (model, r)
    parts = [p for x in ask(model, "use a tool", tools=TOOLS, stream=True) if x.choices for p in (x.choices[0].delta.tool_calls or [])]
    assert parts[0].index == 0 and parts[0].id and parts[0].function.name == "weather.now", (model, parts)
    assert json.loads("".join(p.function.arguments or "" for p in parts)) == {"city": "Bern"}, (model, parts)
    history = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "use a tool"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function", "function": {"name": "weather.now", "arguments": '{"city":"Bern"}'}}]},
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    r = c.chat.completions.create(model=model, messages=history, tools=TOOLS)
    assert "sunny" in r.choices[0].message.content, (model, r)
    # Pictures.
    seen = c.chat.completions.create(model=model, messages=[{"role": "user", "content": [{"type": "text", "text": "describe the image"}, {"type": "image_url", "image_url": {"url": PNG}}]}])
    assert "image/png" in seen.choices[0].message.content, (model, seen)

# Steps: the first model asks the reasoning model, and the client hears one answer.
r = ask("hard", "a hard question", client=steps, extra_body={"effort": 9})
assert "considered" in r.choices[0].message.content and not r.choices[0].message.tool_calls, r
chunks = list(ask("hard", "a hard question", client=steps, stream=True, stream_options={"include_usage": True}, extra_body={"effort": 10}))
assert "considered" in text_of(chunks) and chunks[-1].usage.completion_tokens > 0, chunks
r = ask("hard", "consult forever", client=steps, max_tokens=64, extra_body={"effort": 9})
assert r.choices[0].finish_reason in ("stop", "length"), r
r = ask("hard", "use a tool", client=steps, tools=TOOLS, extra_body={"effort": 9})
assert r.choices[0].message.tool_calls[0].function.name == "weather.now", r
# Who has no right to that, or an easy question, gets one answer of one model.
assert "considered" not in ask("hard", "a hard question", extra_body={"effort": 9}).choices[0].message.content
assert "considered" not in ask("hard", "a hard question", client=steps, extra_body={"effort": 5}).choices[0].message.content

# Errors that are the request's own come in the shape that the client knows.
try:
    c.chat.completions.create(model="to-claude", messages=[])
    assert False
except openai.BadRequestError as e:
    assert e.body, e
try:
    ask("openai", "hi")
    assert False, "a hosted model is nobody's to ask for by name"
except openai.NotFoundError as e:
    assert e.code == "model_not_found", e
names = [m.id for m in c.models.list().data]
assert "small" in names and not any("gpt" in n and "/" in n for n in names), names
print("all is well")
