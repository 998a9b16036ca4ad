//! The labelled set, what the verdicts on it are worth, and texts that nobody should have written.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use charter_effort::{NAMES, Prompt, Tier, classify, weights};

/// Of the part of the set that no weight has seen.
const RIGHT_SIDE_MIN: usize = 88;
const WITHIN_ONE_TIER_MIN: usize = 94;
/// Of those that are labelled 7 or more.
const HARD_FOUND_MIN: usize = 74;

struct Row {
    split: &'static str,
    effort: u8,
    language: &'static str,
    text: String,
}

fn rows() -> Vec<Row> {
    let lines = include_str!("../data/prompts.tsv").lines();
    lines
        .map(|line| {
            let [split, effort, language, text] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
            Row { split, effort: effort.parse().expect("an effort"), language, text: text.replace("\\n", "\n") }
        })
        .collect()
}

fn effort(text: &str) -> u8 {
    classify(&Prompt { last_user: text, turns: 1, total_bytes: text.len(), ..Prompt::default() }).effort
}

#[test]
fn the_labelled_set_is_large_and_of_all_kinds() {
    let all = rows();
    assert!(all.len() >= 300, "{}", all.len());
    for tier in Tier::ALL {
        for split in ["tune", "test"] {
            let count = all.iter().filter(|r| r.split == split && Tier::of(r.effort) == tier).count();
            assert!(count >= 10, "{} {split}: {count}", tier.as_str());
        }
    }
    for language in ["en", "de", "fr", "es"] {
        assert!(all.iter().filter(|r| r.language == language).count() >= 10, "{language}");
    }
    let mut texts: Vec<&str> = all.iter().map(|r| r.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), all.len(), "no prompt stands there twice, least of all in both parts");
}

#[test]
fn what_no_weight_has_seen_is_judged_well_enough_to_route_by() {
    let test: Vec<Row> = rows().into_iter().filter(|r| r.split == "test").collect();
    let percent = |good: &dyn Fn(&Row) -> bool| test.iter().filter(|r| good(r)).count() * 100 / test.len();
    let tier = |effort: u8| Tier::ALL.iter().position(|t| *t == Tier::of(effort)).unwrap_or(0);
    let side = percent(&|r| (r.effort >= 7) == (effort(&r.text) >= 7));
    let near = percent(&|r| tier(r.effort).abs_diff(tier(effort(&r.text))) <= 1);
    let hard = test.iter().filter(|r| r.effort >= 7).count();
    let found = test.iter().filter(|r| r.effort >= 7 && effort(&r.text) >= 7).count() * 100 / hard;
    assert!(found >= HARD_FOUND_MIN, "of the hard ones {found} % are found");
    assert!(side >= RIGHT_SIDE_MIN && near >= WITHIN_ONE_TIER_MIN, "right side of 7: {side} %, within one tier: {near} %");
}

#[test]
fn every_part_of_a_verdict_is_shown_and_adds_up() {
    for row in rows() {
        let verdict = classify(&Prompt { last_user: &row.text, tools: 3, images: 1, turns: 4, ..Prompt::default() });
        let names: Vec<&str> = verdict.parts.iter().map(|p| p.name).collect();
        assert_eq!(names, NAMES);
        let sum: f32 = verdict.parts.iter().map(|p| p.points).sum();
        assert!((weights().bias + sum - verdict.score).abs() < 0.001 && (1..=10).contains(&verdict.effort), "{}", row.text);
        assert!(verdict.parts.iter().all(|p| (0.0..=1.0).contains(&p.found) && (p.found * p.weight - p.points).abs() < 0.001));
    }
    assert!(NAMES.iter().all(|name| weights().weights.contains_key(*name)), "each feature has a weight in the table");
}

#[test]
fn whatever_a_text_is_made_of_there_is_a_verdict() {
    let mut seed: u64 = 7;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..2000 {
        let length = usize::try_from(next() % 300).unwrap_or(0);
        let bytes: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let again = effort(&text);
        assert!((1..=10).contains(&again) && effort(&text) == again);
    }
    // Cut anywhere, in the middle of characters too.
    for shift in 0..8 {
        let huge = "x".repeat(shift) + &"é∫🙂 prove ".repeat(40_000);
        assert!((1..=10).contains(&effort(&huge)));
    }
    assert!(effort("") <= 4 && effort(&" ".repeat(100_000)) <= 5);
}

#[test]
fn scripts_without_spaces_are_as_long_as_they_are() {
    let length = |text: &str| {
        let verdict = classify(&Prompt { last_user: text, ..Prompt::default() });
        verdict.parts.iter().find(|p| p.name == "length").expect("a part").found
    };
    for script in ["设计一个分布式系统", "分散システムを設計する", "ออกแบบระบบ"] {
        let (once, often) = (length(script), length(&script.repeat(50)));
        assert!(once > 0.15 && often > once + 0.4, "{script}: {once} {often}");
    }
    // Spaces or not, one letter repeated is no essay.
    assert!(length(&"x".repeat(4000)) < 0.2);
}

#[test]
fn words_that_tell_are_found_in_every_language_they_are_listed_in() {
    let found = |text: &str, name: &str| {
        let verdict = classify(&Prompt { last_user: text, ..Prompt::default() });
        verdict.parts.iter().find(|p| p.name == name).expect("a part").found
    };
    for (text, name) in [
        ("Prove it.", "proof"),
        ("PROVE it.", "proof"),
        ("Démontre-le : démontre", "proof"),
        ("Beweise es.", "proof"),
        ("¡Demuestra esto!", "proof"),
        ("请证明根号2是无理数。", "proof"),
        ("写一个Python函数", "code"),
        ("Explain step-by-step- please", "multi-step"),
        ("NullPointerException", "code"),
        ("```\nlet x = 1;\n```", "code"),
        ("Solve \\int_0^1 x^2", "mathematics"),
    ] {
        assert!(found(text, name) > 0.0, "{text}: {name}");
    }
    // No part of a longer word, and no word longer than any that is listed.
    assert!(found("improves NullPointerExceptions", "proof") == 0.0 && found("NullPointerExceptions", "code") == 0.0);
    assert!(found("Rewrite this: prove, derive", "chore") > found("Prove, derive: rewrite this", "chore"));
}

#[test]
fn tiers_begin_where_they_should() {
    let words: Vec<&str> = (0..=11).map(|effort| Tier::of(effort).as_str()).collect();
    let expected = [
        "reflex", "reflex", "reflex", "simple", "simple", "moderate", "moderate", "complex", "complex", "critical", "critical",
        "critical",
    ];
    assert_eq!(words, expected);
}

#[test]
fn what_the_request_offers_and_bounds_counts_too() {
    let base = Prompt { last_user: "What is in this picture?", turns: 1, ..Prompt::default() };
    let score = |prompt: Prompt<'_>| classify(&prompt).score;
    assert!(score(Prompt { tools: 8, ..base }) > score(base) && score(Prompt { images: 2, ..base }) > score(base));
    assert!(score(Prompt { turns: 9, ..base }) > score(base) && score(Prompt { max_tokens: Some(8), ..base }) < score(base));
}
