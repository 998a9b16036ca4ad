//! Names of cards. Marketplaces, configurations and drivers spell them differently; they are compared, never searched by.

/// Words that makers put around a card's name and that tell nothing about the card.
const DECORATION: &[&str] = &["NVIDIA", "GEFORCE", "TESLA", "QUADRO"];
/// Words after a name that tell how a card is plugged in. They make no other card.
const FORMS: &[&str] = &["PCIE", "SXM", "SXM2", "SXM3", "SXM4", "SXM5"];

fn words(name: &str) -> Vec<String> {
    let upper = name.to_ascii_uppercase().replace(['_', '-'], " ");
    let all = upper.split_whitespace().filter(|w| !DECORATION.contains(w));
    // A size, as in `A100 40GB`, is asked for as memory.
    all.filter(|w| !(w.ends_with("GB") && w.trim_end_matches("GB").bytes().all(|b| b.is_ascii_digit())))
        .map(str::to_owned)
        .collect()
}

/// Does `wanted`, as a person writes it, mean the card called `name`? `RTX_3090` means `NVIDIA GeForce RTX 3090`, and not
/// `RTX 3090 Ti`; `A100` means every form of it.
#[must_use]
pub fn is_named(wanted: &str, name: &str) -> bool {
    let (wanted, name) = (words(wanted), words(name));
    if wanted.is_empty() || name.len() < wanted.len() {
        return false;
    }
    let (head, tail) = name.split_at(wanted.len());
    head == wanted.as_slice() && tail.iter().all(|w| FORMS.contains(&w.as_str()))
}

/// A card's name as marketplaces write it: with spaces.
#[must_use]
pub fn with_spaces(name: &str) -> String {
    name.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_card_are_one_card_and_other_cards_are_not() {
        for (wanted, name) in [
            ("RTX_3090", "RTX 3090"),
            ("RTX 3090", "NVIDIA GeForce RTX 3090"),
            ("rtx 4090", "RTX 4090"),
            ("A100", "A100 SXM4"),
            ("A100 40GB", "NVIDIA A100-PCIE-40GB"),
            ("V100", "Tesla V100"),
            ("H100 SXM", "H100 SXM"),
        ] {
            assert!(is_named(wanted, name), "{wanted} means {name}");
        }
        for (wanted, name) in [
            ("RTX 3090", "RTX 3090 Ti"),
            ("RTX 4080", "RTX 4080S"),
            ("RTX 4090", "RTX 4090 D"),
            ("A40", "RTX A4000"),
            ("A10", "A100 SXM4"),
            ("H100 SXM", "H100 PCIE"),
            ("", "L4"),
        ] {
            assert!(!is_named(wanted, name), "{wanted} does not mean {name}");
        }
    }
}
