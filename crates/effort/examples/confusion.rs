//! Prints how well the weights do on both parts of the labelled set, as Markdown.

#![allow(clippy::print_stdout, clippy::expect_used, reason = "it prints what it finds, and nobody depends on it")]

use charter_effort::{Prompt, Tier, classify};

fn main() {
    for split in ["tune", "test"] {
        let mut matrix = [[0_u32; 5]; 5];
        let (mut all, mut off, mut near, mut side) = (0_u32, 0.0_f64, 0_u32, 0_u32);
        let (mut hard, mut hard_found) = (0_u32, 0_u32);
        for line in include_str!("../data/prompts.tsv").lines() {
            let [of, effort, _, text] = line.splitn(4, '\t').collect::<Vec<_>>()[..] else { continue };
            if of != split {
                continue;
            }
            let text = text.replace("\\n", "\n").replace("\\t", "\t");
            let prompt = Prompt { last_user: &text, turns: 1, total_bytes: text.len(), ..Prompt::default() };
            let (wanted, found): (u8, u8) = (effort.parse().expect("an effort"), classify(&prompt).effort);
            let at = |effort: u8| Tier::ALL.iter().position(|t| *t == Tier::of(effort)).unwrap_or(0);
            matrix[at(wanted)][at(found)] += 1;
            all += 1;
            off += f64::from(wanted.abs_diff(found));
            near += u32::from(at(wanted).abs_diff(at(found)) <= 1);
            side += u32::from((wanted >= 7) == (found >= 7));
            hard += u32::from(wanted >= 7);
            hard_found += u32::from(wanted >= 7 && found >= 7);
            if std::env::args().any(|a| a == "--wrong") && (wanted >= 7) != (found >= 7) {
                println!("{wanted} {found} {}", text.chars().take(100).collect::<String>().replace('\n', " "));
            }
        }
        let percent = |n: u32, of: u32| f64::from(n) * 100.0 / f64::from(of.max(1));
        let (easy, easy_left) = (all - hard, side - hard_found);
        println!(
            "\n`{split}`, {all} prompts: mean error of effort {:.2}, within one tier {:.0} %, on the right side of 7 {:.0} %",
            off / f64::from(all.max(1)),
            percent(near, all),
            percent(side, all)
        );
        println!(
            "(of {hard} labelled 7 or more {:.0} %, of {easy} below {:.0} %)\n",
            percent(hard_found, hard),
            percent(easy_left, easy)
        );
        println!("| labelled | {} |", Tier::ALL.map(Tier::as_str).join(" | "));
        println!("| --- |{}", " ---: |".repeat(5));
        for (tier, row) in Tier::ALL.iter().zip(matrix) {
            println!("| {} | {} |", tier.as_str(), row.map(|n| n.to_string()).join(" | "));
        }
    }
}
