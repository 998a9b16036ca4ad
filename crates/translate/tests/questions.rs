//! Requests, translated: what each API refuses must not be sent to it.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

use charter_translate::models::{self, Model};
use charter_translate::{Question, from_messages, messages, openai, responses};
use serde_json::{Value, json};

fn claude(id: &str) -> Model {
    models::find("anthropic", id)
}

fn asked(chat: &Value, model: &str) -> Question {
    messages::question(chat, &claude(model)).expect("it can be translated")
}

fn chat(messages: &Value) -> Value {
    json!({"model": "m", "messages": messages})
}

fn call(id: &str, name: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

const NEW: &str = "claude-sonnet-5-5";
const HAIKU: &str = "claude-haiku-5-5";
const OLD: &str = "claude-haiku-4-5";

#[test]
fn only_the_leading_instructions_move_to_the_front() {
    let all = json!([
        {"role": "system", "content": "one"},
        {"role": "developer", "content": [{"type": "text", "text": "two"}]},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "midway"},
        {"role": "assistant", "content": "b"},
        {"role": "system", "content": "late"},
        {"role": "user", "content": "c"},
    ]);
    let new = asked(&chat(&all), HAIKU).body;
    assert_eq!(new["system"], json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]));
    let roles = |body: &Value| body["messages"].as_array().expect("a list").iter().map(|m| m["role"].clone()).collect::<Vec<_>>();
    assert_eq!(roles(&new), ["user", "system", "assistant", "user"]);
    assert_eq!(new["messages"][3]["content"][0]["text"], "<system>\nlate\n</system>");
    let old = asked(&chat(&all), OLD).body;
    assert_eq!(roles(&old), ["user", "assistant", "user"]);
    assert_eq!(old["messages"][0]["content"][1]["text"], "<system>\nmidway\n</system>");
}

#[test]
fn every_call_is_followed_by_its_result_and_by_nothing_else() {
    let all = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [call("a", "f", "{\"x\":1}"), call("b", "f", ""), call("c:1", "f",
            "no")]},
        {"role": "user", "content": "in between"},
        {"role": "tool", "tool_call_id": "c:1", "content": "3"},
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "a", "content": "again"},
        {"role": "tool", "tool_call_id": "nobody", "content": "x"},
        {"role": "assistant", "content": "", "tool_calls": [call("a", "f", "[1]")]},
        {"role": "tool", "tool_call_id": "a", "content": ""},
    ]);
    let question = asked(&chat(&all), HAIKU);
    let said = &question.body["messages"];
    assert_eq!(
        said[1]["content"],
        json!([
            {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            {"type": "tool_use", "id": "c_1", "name": "f", "input": {"arguments": "no"}},
        ])
    );
    assert_eq!(said[2]["content"][0], json!({"type": "tool_result", "tool_use_id": "a", "content": "1"}));
    assert_eq!(said[2]["content"][1]["is_error"], true, "the result of b is lost");
    assert_eq!(said[2]["content"][2], json!({"type": "tool_result", "tool_use_id": "c_1", "content": "3"}));
    assert_eq!(said[2]["content"][3], json!({"type": "text", "text": "in between"}));
    assert_eq!(said[3]["content"], json!([{"type": "tool_use", "id": "a_2", "name": "f", "input": {"arguments": [1]}}]));
    assert_eq!(said[4]["content"], json!([{"type": "tool_result", "tool_use_id": "a_2"}]));
    assert_eq!(question.left_out, ["messages.5", "messages.6"]);
    assert_eq!(question.body["tools"], json!([{"name": "f", "input_schema": {"type": "object", "properties": {}}}]));
    assert_eq!(question.body["tool_choice"], json!({"type": "none"}), "what is not offered may not be called");
}

#[test]
fn the_conversation_begins_and_ends_with_the_user() {
    let begin = asked(&chat(&json!([{"role": "assistant", "content": "hi"}, {"role": "user", "content": "x"}])), HAIKU).body;
    assert_eq!(begin["messages"][0]["role"], "user");
    let prefill = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "{ "}]);
    assert_eq!(asked(&chat(&prefill), OLD).body["messages"][1]["content"][0]["text"], "{");
    assert_eq!(asked(&chat(&prefill), HAIKU).body["messages"][2]["role"], "user");
    for empty in [json!([{"role": "system", "content": "s"}]), json!([{"role": "user", "content": "  "}])] {
        assert_eq!(asked(&chat(&empty), HAIKU).body["messages"].as_array().map(Vec::len), Some(1), "{empty}");
    }
    let merged = json!([{"role": "user", "content": "a"}, {"role": "user", "content": [{"type": "text", "text": ""},
        {"type": "text", "text": "b"}]}]);
    let merged = asked(&chat(&merged), HAIKU).body;
    assert_eq!(
        merged["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}])
    );
}

/// A small request with more fields.
fn with(more: &Value) -> Value {
    let mut all = chat(&json!([{"role": "user", "content": "q"}]));
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

#[test]
fn a_model_gets_only_what_it_takes() {
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (model, more, field, expected) in [
        (HAIKU, json!({}), "max_tokens", json!(128_000)),
        (HAIKU, json!({"max_tokens": 999_999}), "max_tokens", json!(128_000)),
        (HAIKU, json!({"max_tokens": 5, "max_completion_tokens": 7}), "max_tokens", json!(7)),
        (HAIKU, json!({"temperature": 0.5}), "temperature", json!(null)),
        (OLD, json!({"temperature": 1.7, "top_p": 0.5}), "temperature", json!(1.0)),
        (OLD, json!({"temperature": 1.7, "top_p": 0.5}), "top_p", json!(null)),
        (OLD, json!({"top_p": 0.5}), "top_p", json!(0.5)),
        (HAIKU, json!({"stop": [" ", "END", "\n"]}), "stop_sequences", json!(["END"])),
        (HAIKU, json!({"stop": "x"}), "stop_sequences", json!(["x"])),
        (HAIKU, json!({"reasoning_effort": "minimal"}), "output_config", json!({"effort": "low"})),
        (HAIKU, json!({"reasoning_effort": "none"}), "output_config", json!(null)),
        (HAIKU, json!({"reasoning_effort": "max"}), "thinking", json!({"type": "adaptive"})),
        (OLD, json!({"reasoning_effort": "high"}), "thinking", json!({"type": "enabled", "budget_tokens": 4096})),
        (
            OLD,
            json!({"reasoning_effort": "high", "max_tokens": 2000}),
            "thinking",
            json!({"type": "enabled", "budget_tokens": 1999}),
        ),
        (OLD, json!({"reasoning_effort": "high", "max_tokens": 1000}), "thinking", json!(null)),
        (OLD, json!({"reasoning_effort": "high", "tools": tools, "tool_choice": "required"}), "thinking", json!(null)),
        (HAIKU, json!({"tools": tools, "tool_choice": "required"}), "tool_choice", json!({"type": "any"})),
        (NEW, json!({"tools": tools, "tool_choice": "required"}), "tool_choice", json!({"type": "auto"})),
        (
            NEW,
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            "tool_choice",
            json!({"type": "auto"}),
        ),
        (
            HAIKU,
            json!({"tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}}),
            "tool_choice",
            json!({"type": "tool", "name": "f"}),
        ),
        (
            HAIKU,
            json!({"tools": tools, "parallel_tool_calls": false}),
            "tool_choice",
            json!({"type": "auto", "disable_parallel_tool_use": true}),
        ),
        (
            HAIKU,
            json!({"tools": tools, "tool_choice": "none", "parallel_tool_calls": false}),
            "tool_choice",
            json!({"type": "none"}),
        ),
        (HAIKU, json!({"tools": [], "tool_choice": "auto", "parallel_tool_calls": false}), "tool_choice", json!(null)),
        (HAIKU, json!({"user": "team-7"}), "metadata", json!({"user_id": "team-7"})),
        (HAIKU, json!({"stream": true, "stream_options": {"include_usage": true}}), "stream", json!(true)),
    ] {
        assert_eq!(asked(&with(&more), model).body[field], expected, "{model} {more}");
    }
}

#[test]
fn what_is_personal_is_hashed_what_has_no_place_is_named_and_what_cannot_be_is_refused() {
    for personal in ["a@example.com", "+49 170 1234567"] {
        let id = asked(&with(&json!({"user": personal})), HAIKU).body["metadata"]["user_id"].clone();
        assert_eq!(id.as_str().map(str::len), Some(16), "{id}");
    }
    let dropped = asked(
        &with(&json!({"seed": 1, "logprobs": false, "presence_penalty": 0, "logit_bias": {}, "temperature": 1, "top_k": 3})),
        HAIKU,
    );
    assert_eq!(dropped.left_out, ["seed", "top_k"]);
    for refused in [
        json!({"n": 2}),
        json!({"max_tokens": 0}),
        json!({"max_tokens": "x"}),
        json!({"functions": [{}]}),
        json!({"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        json!({"response_format": {"type": "grammar"}}),
        json!({"messages": []}),
        json!({"messages": [{"role": "alien"}]}),
        json!({"messages": [{"role": "user", "content": 7}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
    ] {
        let why = messages::question(&with(&refused), &claude(HAIKU)).expect_err("it cannot be translated");
        assert!(why.param.is_some() && !why.message.is_empty(), "{refused}");
    }
}

#[test]
fn the_shape_of_an_answer_is_asked_for_as_the_model_can() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer", "minimum": 0}}});
    let mut all = chat(&json!([{"role": "user", "content": "q"}]));
    all["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    let new = asked(&all, NEW);
    assert_eq!(new.body["output_config"]["format"]["schema"]["additionalProperties"], false);
    assert!(!new.json_tool);
    let older = asked(&all, "claude-sonnet-4-20250514");
    assert!(older.json_tool);
    assert_eq!(older.body["tool_choice"], json!({"type": "tool", "name": "json_tool_call"}));
    assert_eq!(older.body["tools"][0]["input_schema"], schema);
    all["tools"] = json!([{"type": "function", "function": {"name": "json_tool_call"}}]);
    let both = asked(&all, "claude-sonnet-4-20250514");
    assert_eq!(both.body["tool_choice"], json!({"type": "any"}));
    let own = both.body["tools"][0]["name"].as_str().expect("a name");
    assert_eq!((own == "json_tool_call", both.names.original(own)), (false, "json_tool_call"));
    let stranger = asked(&all, "claude-unheard-of");
    assert!(!stranger.json_tool && stranger.body["system"][0]["text"].as_str().expect("a text").contains("JSON Schema"));
    all["response_format"] = json!({"type": "json_object"});
    assert!(asked(&all, NEW).body["system"][0]["text"].as_str().expect("a text").contains("JSON"));
}

#[test]
fn responses_get_flat_tools_and_whole_pairs() {
    let model = models::find("openai", "gpt-6-luna");
    let all = json!({"model": "m", "max_tokens": 5, "temperature": 0.2, "reasoning_effort": "low", "stop": "x",
        "verbosity": "low",
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": true}},
    "tools": [{"type": "function", "function": {"name": "a.b", "description": "d"}}],
    "tool_choice": {"type": "function", "function": {"name": "a.b"}},
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url",
            "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "content": "t", "tool_calls": [call("1", "a.b", ""), call("2", "a.b", "{}")]},
        {"role": "tool", "tool_call_id": "2", "content": [{"type": "text", "text": "r"}]},
    ]});
    assert!(openai::needs_responses(&all, &model));
    let question = responses::question(&all, &model).expect("it can be translated");
    let (body, name) = (&question.body, question.body["tools"][0]["name"].as_str().expect("a name"));
    assert_eq!(question.names.original(name), "a.b");
    assert_eq!(body["tools"][0]["strict"], false);
    assert_eq!(body["tool_choice"], json!({"type": "function", "name": name}));
    assert_eq!((&body["store"], &body["max_output_tokens"], &body["temperature"]), (&json!(false), &json!(16), &json!(null)));
    assert_eq!(
        body["text"],
        json!({"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": true}, "verbosity": "low"})
    );
    assert_eq!(question.left_out, ["stop", "temperature"]);
    let kinds: Vec<&str> = body["input"].as_array().expect("a list").iter().filter_map(|i| i["type"].as_str()).collect();
    assert_eq!(
        kinds,
        ["message", "message", "message", "function_call", "function_call", "function_call_output", "function_call_output"]
    );
    assert_eq!(body["input"][1]["content"][1], json!({"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"}));
    assert_eq!(body["input"][3]["arguments"], "{}");
    assert_eq!(body["input"][6], json!({"type": "function_call_output", "call_id": "2", "output": "r"}));
}

#[test]
fn the_hosted_chat_gets_what_it_knows() {
    let luna = models::find("openai", "gpt-6-luna");
    let all = json!({"model": "m", "messages": [{"role": "assistant", "content": "a", "reasoning_content": "r"}], "max_tokens": 9,
        "temperature": 0.5, "top_k": 4, "seed": 1, "tools": [], "tool_choice": "auto", "stream": true, "logit_bias": null});
    let question = openai::adjust(&all, &luna).expect("it can be translated");
    let expected = json!({"model": "gpt-6-luna", "messages": [{"role": "assistant", "content": "a"}],
        "max_completion_tokens": 9, "seed": 1, "stream": true});
    assert_eq!(question.body, expected);
    assert_eq!(question.left_out, ["temperature", "top_k"]);
    let mut calm = all;
    calm["reasoning_effort"] = "none".into();
    calm["tools"] = json!([{"type": "function", "function": {"name": "f"}}]);
    assert_eq!(openai::adjust(&calm, &luna).expect("it can be translated").body["temperature"], 0.5);
    assert!(!openai::needs_responses(&calm, &luna), "without effort tools are taken");
    calm["reasoning_effort"] = "low".into();
    assert!(openai::needs_responses(&calm, &luna));
    assert!(!openai::needs_responses(&calm, &models::find("openai", "gpt-4o")));
    assert!(openai::needs_responses(&json!({}), &models::find("openai", "gpt-5.4-pro")));
}

#[test]
fn a_client_of_messages_is_understood() {
    let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}});
    let all = json!({"model": "m", "max_tokens": 10, "stream": true, "stop_sequences": ["x"], "temperature": 0.3,
    "system": [{"type": "text", "text": "s1", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "s2"}],
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "high"}, "metadata": {"user_id": "u"},
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}, {"type": "web_search_20260209",
        "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}]},
        {"role": "user", "content": [{"type": "text", "text": "look"},
            {"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": [{"type": "text", "text": "bad"},
                picture]}]},
    ]});
    let question = from_messages::question(&all).expect("it can be translated");
    let url = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
    let expected = json!({"model": "m", "max_tokens": 10, "stream": true, "stream_options": {"include_usage": true},
        "stop": ["x"],
    "temperature": 0.3, "reasoning_effort": "high", "user": "u", "tool_choice": "required", "parallel_tool_calls": false,
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
    "messages": [
        {"role": "system", "content": "s1\n\ns2"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a", "tool_calls": [call("1", "f", "{\"x\":1}")]},
        {"role": "tool", "tool_call_id": "1", "content": "Error: bad"},
        {"role": "user", "content": [url, {"type": "text", "text": "look"}]},
    ]});
    assert_eq!(question.body, expected);
    assert_eq!(question.left_out, ["tools.web_search", "thinking"]);
    for refused in [
        json!({}),
        json!({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}),
        json!({"messages": [{"role": "user", "content": [{"type": "new_thing"}]}]}),
        json!({"messages": [{"role": "tool", "content": ""}]}),
    ] {
        assert!(from_messages::question(&refused).is_err(), "{refused}");
    }
}

#[test]
fn thoughts_stay_off_where_calls_have_lost_theirs() {
    let said = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "reasoning_content": "lost", "tool_calls": [call("a", "f", "{}")]},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
    ]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let request = with(&json!({"messages": said, "tools": tools, "reasoning_effort": "high"}));
    let old = asked(&request, OLD);
    assert_eq!((old.body.get("thinking"), old.left_out), (None, vec!["reasoning_effort".to_owned()]));
    assert_eq!(asked(&request, HAIKU).body["thinking"], json!({"type": "adaptive"}), "these do not look for them");
}

#[test]
fn a_result_belongs_to_the_latest_call_with_its_id() {
    let all = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [call("call_0", "f", "")]},
        {"role": "user", "content": "never mind"},
        {"role": "assistant", "tool_calls": [call("call_0", "f", "")]},
        {"role": "tool", "tool_call_id": "call_0", "content": "r"},
    ]);
    let said = asked(&chat(&all), HAIKU).body["messages"].clone();
    assert_eq!(said[2]["content"][0]["is_error"], true);
    assert_eq!(said[4]["content"], json!([{"type": "tool_result", "tool_use_id": "call_0_2", "content": "r"}]));
}
