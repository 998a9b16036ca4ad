//! Figures as people read them: money, counts, times; each with its unit, the exact value where the mouse rests.

use charter_domain::time::Time;
use jiff::Timestamp;
use maud::{Markup, html};

/// Money, as short as it can be said: `$0.142`, `$12.40`, `$1,204`.
pub(crate) fn usd(micros: i64) -> String {
    let (sign, size) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    let text = match size {
        0 => "$0".to_owned(),
        1..=499 => "< $0.001".to_owned(),
        500..=999_499 => format!("${:.3}", rounded(size)),
        999_500..=999_994_999 => format!("${:.2}", rounded(size)),
        _ => format!("${}", thousands((size + 500_000) / 1_000_000)),
    };
    format!("{sign}{text}")
}

#[expect(clippy::cast_precision_loss, reason = "a few digits of it are shown")]
fn rounded(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// A price for an hour.
pub(crate) fn per_hour(micros: i64) -> String {
    format!("{}/h", usd(micros))
}

/// A whole number with its thousands apart.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count that may be large: `1,204`, `18.2 k`, `3.40 M`.
pub(crate) fn count(number: u64) -> Markup {
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
    let size = number as f64;
    let short = match number {
        0..=9_999 => thousands(number),
        10_000..=999_949 => format!("{:.1} k", size / 1e3),
        999_950..=999_994_999 => format!("{:.2} M", size / 1e6),
        _ => format!("{:.2} G", size / 1e9),
    };
    html! { span title=(thousands(number)) { (short) } }
}

/// A length of time: `44 s`, `3 min 20 s`, `2 h 05 min`, `3 d 4 h`.
pub(crate) fn span(ms: i64) -> String {
    let s = ms.max(0) / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..3600 if s % 60 == 0 => format!("{} min", s / 60),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    }
}

/// The same, to one unit, for what changes while it is read.
fn about(ms: i64) -> String {
    let s = ms.abs() / 1000;
    match s {
        0..60 => format!("{s} s"),
        60..5400 => format!("{} min", (s + 30) / 60),
        5400..129_600 => format!("{} h", (s + 1800) / 3600),
        _ => format!("{} d", (s + 43_200) / 86_400),
    }
}

/// A moment as it lies from now, exact on hover; the page's script keeps it true.
pub(crate) fn when(at: Time, now: Time) -> Markup {
    let stamp = Timestamp::from_millisecond(at.0).unwrap_or_default();
    let away = at.0 - now.0;
    let text = match away {
        -999..=999 => "now".to_owned(),
        1000.. => format!("in {}", about(away)),
        _ => format!("{} ago", about(away)),
    };
    html! {
        time datetime=(stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            title=(stamp.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()) { (text) }
    }
}

/// A moment that was written as RFC 3339.
pub(crate) fn moment(text: &str) -> Option<Time> {
    text.parse::<Timestamp>().ok().map(|stamp| Time(stamp.as_millisecond()))
}

/// The same as [`when`], of a written moment.
pub(crate) fn when_said(text: &str, now: Time) -> Markup {
    match moment(text) {
        Some(at) => when(at, now),
        None => html! { (text) },
    }
}

/// A size in bytes.
pub(crate) fn bytes(size: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits of it are shown")]
    let whole = size as f64;
    match size {
        0..=999 => format!("{size} B"),
        1000..=999_999 => format!("{:.0} kB", whole / 1e3),
        1_000_000..=999_999_999 => format!("{:.0} MB", whole / 1e6),
        _ => format!("{:.0} GB", whole / 1e9),
    }
}

/// A sentence in which what stands between backticks is a name or a value.
pub(crate) fn marked(text: &str) -> Markup {
    // What is left open is shown as it is.
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! { @for (n, part) in parts.iter().enumerate() { @if n % 2 == 1 { code { (part) } } @else { (part) } } }
}

/// The word for one, or for several.
pub(crate) fn many(count: usize, one: &str, several: &str) -> String {
    format!("{} {}", thousands(u64::try_from(count).unwrap_or(u64::MAX)), if count == 1 { one } else { several })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_short_and_never_wrong_by_more_than_its_last_digit() {
        let cases = [
            (0, "$0"),
            (1, "< $0.001"),
            (499, "< $0.001"),
            (500, "$0.001"),
            (142_000, "$0.142"),
            (999_499, "$0.999"),
            (999_500, "$1.00"),
            (12_400_000, "$12.40"),
            (999_994_999, "$999.99"),
            (999_995_000, "$1,000"),
            (1_203_600_000, "$1,204"),
            (-142_000, "-$0.142"),
        ];
        for (micros, text) in cases {
            assert_eq!(usd(micros), text, "{micros}");
        }
    }

    #[test]
    fn times_say_their_units() {
        let cases = [
            (0, "0 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 05 min"),
            (273_600_000, "3 d 4 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(ms), text);
        }
        let now = Time(1_795_259_775_000);
        let said = |ms: i64| when(Time(now.0 + ms), now).into_string();
        assert_eq!(said(0), "<time datetime=\"2026-11-21T11:16:15Z\" title=\"2026-11-21 11:16:15 UTC\">now</time>");
        for (ms, text) in [(-3_000, "3 s ago"), (-3_600_000, "60 min ago"), (7_200_000, "in 2 h"), (-400_000_000, "5 d ago")] {
            assert!(said(ms).contains(&format!(">{text}<")), "{}", said(ms));
        }
    }

    #[test]
    fn counts_keep_three_digits() {
        for (number, text) in [(9_999, ">9,999<"), (18_240, ">18.2 k<"), (999_950, ">1.00 M<"), (3_400_000_000, ">3.40 G<")] {
            assert!(count(number).into_string().contains(text), "{number}");
        }
        assert_eq!(many(1, "copy", "copies"), "1 copy");
        assert_eq!(many(1200, "copy", "copies"), "1,200 copies");
    }
}
