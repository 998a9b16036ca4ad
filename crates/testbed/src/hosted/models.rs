//! What each hosted model takes. It is read off the names, and on purpose from no table that charter has: an error there is seen
//! here.

use serde_json::{Value, json};

/// A model of `OpenAI`'s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gpt {
    /// It reasons unless it is told not to.
    pub(super) reasons: bool,
    /// It can be told not to reason.
    pub(super) may_rest: bool,
    /// Functions and reasoning do not go together in Chat Completions.
    pub(super) keeps_tools_apart: bool,
    /// It is served over Responses alone.
    pub(super) only_responses: bool,
    /// It takes a verbosity.
    pub(super) has_verbosity: bool,
    /// The longest answer, in tokens.
    pub(super) max_output: u64,
}

/// The model of a name of `OpenAI`'s, if there is one.
pub(super) fn gpt(name: &str) -> Option<Gpt> {
    let only_responses = ["-pro", "-codex", "-deep-research"].iter().any(|word| name.contains(word));
    let usual = Gpt {
        reasons: true,
        may_rest: false,
        keeps_tools_apart: false,
        only_responses,
        has_verbosity: false,
        max_output: 100_000,
    };
    if ["o1", "o3", "o4-mini"].iter().any(|known| name == *known || name.strip_prefix(known).is_some_and(|r| r.starts_with('-')))
    {
        return Some(usual);
    }
    let rest = name.strip_prefix("gpt-")?;
    let (version, variant) = rest.split_once('-').unwrap_or((rest, ""));
    let plain = |max_output| Some(Gpt { reasons: false, max_output, ..usual });
    match version {
        "3.5" => return plain(4_096),
        "4" => return plain(8_192),
        "4o" => return plain(16_384),
        "4.1" => return plain(32_768),
        _ => {}
    }
    if variant.starts_with("chat") {
        return plain(16_384);
    }
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    let version: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let is_known = ((5, 0)..=(5, 9)).contains(&version) || version == (6, 0);
    is_known.then_some(Gpt {
        may_rest: version >= (5, 1),
        keeps_tools_apart: version >= (5, 4),
        has_verbosity: true,
        max_output: 128_000,
        ..usual
    })
}

/// A model of Anthropic's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claude {
    version: (u32, u32),
    is_opus: bool,
    is_newest: bool,
}

impl Claude {
    /// It takes temperature, `top_p` and `top_k`.
    pub(super) fn samples(self) -> bool {
        self.version < (4, 7)
    }

    /// It refuses temperature and `top_p` at once.
    pub(super) fn wants_one_of_both(self) -> bool {
        ((4, 1)..=(4, 5)).contains(&self.version)
    }

    /// It goes on with what the assistant has begun.
    pub(super) fn prefills(self) -> bool {
        self.version < (4, 6)
    }

    /// It takes a budget for its thoughts.
    pub(super) fn thinks_by_budget(self) -> bool {
        ((3, 7)..(4, 7)).contains(&self.version)
    }

    /// It decides itself how long to think.
    pub(super) fn thinks_adaptively(self) -> bool {
        self.version >= (4, 6)
    }

    /// It thinks.
    pub(super) fn thinks(self) -> bool {
        self.version >= (3, 7)
    }

    /// A call can be forced.
    pub(super) fn can_be_forced(self) -> bool {
        !self.is_newest
    }

    /// A system message may follow a user's.
    pub(super) fn takes_system_midway(self) -> bool {
        self.version >= (4, 8)
    }

    /// It keeps to a schema.
    pub(super) fn is_structured(self) -> bool {
        self.version >= (4, 5)
    }

    /// It takes an effort.
    pub(super) fn takes_effort(self) -> bool {
        self.version >= (4, 6) || (self.is_opus && self.version == (4, 5))
    }

    /// The longest answer, in tokens.
    pub(super) fn max_output(self) -> u64 {
        match self.version {
            (0..=3, 0..=4) => 4_096,
            (0..=3, 5 | 6) => 8_192,
            (4, 0 | 1) if self.is_opus => 32_000,
            (0..=3, _) | (4, 0..=5) => 64_000,
            _ => 128_000,
        }
    }

    /// What `GET /v1/models` tells of it.
    fn told(self, id: &str) -> Value {
        let can = |yes: bool| json!({"supported": yes});
        json!({
            "type": "model", "id": id, "display_name": id, "created_at": "2026-10-01T00:00:00Z",
            "max_input_tokens": 200_000, "max_tokens": self.max_output(),
            "capabilities": {
                "thinking": {"supported": self.thinks(), "types": {
                    "adaptive": can(self.thinks_adaptively()), "enabled": can(self.thinks_by_budget()),
                }},
                "effort": can(self.takes_effort()), "structured_outputs": can(self.is_structured()), "image_input": can(true),
            },
        })
    }
}

/// The model of a name of Anthropic's, if there is one.
pub(super) fn claude(name: &str) -> Option<Claude> {
    let rest = name.strip_prefix("claude-")?;
    // What is left of `haiku-4-5-20251001` and of the older `3-5-sonnet-latest` are a family and a version.
    let is_date = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_digit());
    let (mut family, mut numbers) = (None, vec![]);
    for part in rest.split('-').filter(|part| !is_date(part) && *part != "latest") {
        match part.parse::<u32>() {
            Ok(number) => numbers.push(number),
            Err(_) if family.is_none() => family = Some(part),
            Err(_) => return None,
        }
    }
    let version = match numbers.as_slice() {
        [major] => (*major, 0),
        [major, minor] => (*major, *minor),
        _ => return None,
    };
    let (is_largest, is_opus) = match family? {
        "haiku" | "sonnet" => (false, false),
        "opus" => (false, true),
        "fable" | "mythos" => (true, false),
        _ => return None,
    };
    let is_newest = version >= if is_largest { (5, 1) } else { (5, 5) } && family != Some("haiku");
    (3..=5).contains(&version.0).then_some(Claude { version, is_opus, is_newest })
}

/// What `OpenAI` answers to `GET /v1/models`.
pub(super) fn openai_list() -> Value {
    let one = |id: &&str| json!({"id": id, "object": "model", "created": super::CREATED, "owned_by": "system"});
    let all =
        ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "o4-mini", "gpt-5", "gpt-5.2-pro", "gpt-5.4", "gpt-5.5", "gpt-6-sol", "gpt-6-luna"];
    json!({"object": "list", "data": all.iter().map(one).collect::<Vec<_>>()})
}

/// What Anthropic answers to `GET /v1/models`.
pub(super) fn anthropic_list() -> Value {
    let all =
        ["claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-opus-4-8", "claude-sonnet-4-6", "claude-haiku-4-5"];
    let data: Vec<Value> = all.iter().filter_map(|id| Some(claude(id)?.told(id))).collect();
    json!({"data": data, "has_more": false, "first_id": all.first(), "last_id": all.last()})
}
