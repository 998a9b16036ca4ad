import os

import anthropic

c = anthropic.Anthropic(base_url=os.environ["URL"], api_key=os.environ["KEY"], max_retries=0)
TOOLS = [{"name": "weather", "description": "d", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


def ask(model, text, **more):
    more.setdefault("max_tokens", 64)
    return c.messages.create(model=model, messages=[{"role": "user", "content": text}], **more)


# To an engine that understands it, to the API itself, and to one that speaks another language.
for model in ["small", "to-claude", "to-gpt", "to-new-gpt"]:
    r = ask(model, "one two three")
    assert "one two three" in r.content[0].text and r.usage.output_tokens > 0 and r.type == "message", (model, r)
    with c.messages.stream(model=model, max_tokens=64, messages=[{"role": "user", "content": "one two three"}]) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert "one two three" in text and final.stop_reason in ("end_turn", "max_tokens") and final.usage.output_tokens > 0, (model, text, final)

for model in ["to-claude", "to-gpt", "to-new-gpt"]:
    r = ask(model, "use a tool", tools=TOOLS)
    call = [b for b in r.content if b.type == "tool_use"][0]
    assert (call.name, call.input, r.stop_reason) == ("weather", {"city": "Bern"}, "tool_use"), (model, r)
    with c.messages.stream(model=model, max_tokens=64, tools=TOOLS, messages=[{"role": "user", "content": "use a tool"}]) as stream:
        final = stream.get_final_message()
    assert [b.input for b in final.content if b.type == "tool_use"] == [{"city": "Bern"}], (model, final)
    history = [
        {"role": "user", "content": "use a tool"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": call.id, "name": "weather", "input": {"city": "Bern"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
    ]
    r = c.messages.create(model=model, max_tokens=64, tools=TOOLS, messages=history, system="be brief")
    assert "sunny" in r.content[0].text, (model, r)
    seen = ask(model, [{"type": "text", "text": "describe the image"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}])
    assert "image/png" in seen.content[0].text, (model, seen)

r = c.messages.create(model="auto", max_tokens=16, messages=[{"role": "user", "content": "hi"}], extra_headers={"x-charter-effort": "9"})
assert r.content, r
steps = anthropic.Anthropic(base_url=os.environ["URL"], api_key=os.environ["AGENTIC"], max_retries=0)
r = steps.messages.create(model="hard", max_tokens=64, messages=[{"role": "user", "content": "a hard question"}], extra_headers={"x-charter-effort": "9"})
assert "considered" in r.content[0].text, r
try:
    ask("nobody", "hi")
    assert False
except anthropic.NotFoundError as e:
    assert e.body["error"]["type"] == "not_found_error", e.body
try:
    anthropic.Anthropic(base_url=os.environ["URL"], api_key="chk_wrong", max_retries=0).messages.create(model="small", max_tokens=4, messages=[{"role": "user", "content": "x"}])
    assert False
except anthropic.AuthenticationError as e:
    assert e.body["error"]["type"] == "authentication_error", e.body
print("all is well")
