//! Charts that people can read, drawn on the server: axes, units, and the exact figure of each column where the mouse rests or the
//! keyboard stands.

use maud::{Markup, html};

/// One column: its name, its parts from below, and what is said of it.
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) parts: [f64; 2],
    pub(crate) said: String,
}

const WIDE: f64 = 720.0;
const HIGH: f64 = 190.0;
const LEFT: f64 = 58.0;
const BELOW: f64 = 24.0;
const ABOVE: f64 = 10.0;

/// The least round figure that is not below `most`: 1, 2 or 5 times a power of ten.
fn round_up(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|m| *m >= most * 0.999_999).unwrap_or(most)
}

fn at(value: f64) -> String {
    format!("{value:.1}")
}

/// Columns over time. `unit` says what the axis counts, `figure` writes a value of it.
pub(crate) fn columns(title: &str, columns: &[Column], legend: &[&str], figure: impl Fn(f64) -> String) -> Markup {
    let most = round_up(columns.iter().map(|c| c.parts.iter().sum::<f64>()).fold(0.0, f64::max));
    let (wide, high) = (WIDE - LEFT, HIGH - ABOVE - BELOW);
    #[expect(clippy::cast_precision_loss, reason = "a chart has some dozen columns")]
    let step = wide / columns.len().max(1) as f64;
    let y = |value: f64| ABOVE + high * (1.0 - value / most);
    // Names that would touch are left out.
    let every = columns.len().div_ceil(9).max(1);
    html! {
        figure.chart {
            svg viewBox={ "0 0 " (WIDE) " " (HIGH) } role="img" aria-label=(title) {
                @for part in [0.0, 0.5, 1.0] {
                    line.axis x1=(LEFT) x2=(WIDE) y1=(at(y(most * part))) y2=(at(y(most * part))) {}
                    // Half of one is no figure where whole things are counted.
                    @if part != 0.5 || figure(most * part) != figure(0.0) {
                        text x=(LEFT - 8.0) y=(at(y(most * part) + 4.0)) text-anchor="end" { (figure(most * part)) }
                    }
                }
                @for (n, column) in columns.iter().enumerate() {
                    @let x = LEFT + step * f64::from(u16::try_from(n).unwrap_or(u16::MAX));
                    @let (first, both) = (column.parts[0], column.parts[0] + column.parts[1]);
                    g.col tabindex="0" role="img" aria-label=(column.said) {
                        title { (column.said) }
                        rect.hit x=(at(x)) y=(at(ABOVE)) width=(at(step)) height=(at(high)) {}
                        rect.fill x=(at(x + step * 0.14)) width=(at(step * 0.72)) y=(at(y(first))) height=(at((y(0.0) - y(first)).max(0.0))) rx="1.5" {}
                        @if column.parts[1] > 0.0 {
                            rect.fill2 x=(at(x + step * 0.14)) width=(at(step * 0.72)) y=(at(y(both))) height=(at((y(first) - y(both)).max(0.0))) rx="1.5" {}
                        }
                    }
                    @if n % every == 0 {
                        text x=(at(x + step / 2.0)) y=(at(HIGH - 6.0)) text-anchor="middle" { (column.name) }
                    }
                }
            }
            @if legend.len() > 1 {
                div.legend { @for (n, name) in legend.iter().enumerate() { span class=[(n == 1).then_some("second")] { (name) } } }
            }
        }
    }
}

/// A bar that shows what is spent, what is set aside, and where the month will stand, on the way to a limit.
pub(crate) fn meter(title: &str, spent: i64, committed: i64, forecast: Option<i64>, hard: i64) -> Markup {
    let whole = hard.max(committed).max(1);
    let share = |part: i64| {
        let permille = i128::from(part.max(0)) * 1000 / i128::from(whole);
        i64::try_from(permille.min(1000)).unwrap_or(1000)
    };
    html! {
        svg viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=(title) {
            title { (title) }
            rect class=(if committed >= hard { "over" } else { "fill" }) x="0" y="0" height="10" width=(share(spent)) {}
            rect.fill2 x=(share(spent)) y="0" height="10" width=((share(committed) - share(spent)).max(0)) {}
            @if let Some(forecast) = forecast.filter(|f| *f > 0) {
                line.mark x1=(share(forecast).clamp(2, 998)) x2=(share(forecast).clamp(2, 998)) y1="0" y2="10" vector-effect="non-scaling-stroke" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_figures() {
        for (most, round) in [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (1.2, 2.0), (4.9, 5.0), (51.0, 100.0), (0.031, 0.05)] {
            assert!((round_up(most) - round).abs() < 1e-9, "{most}: {}", round_up(most));
        }
    }

    #[test]
    fn no_figure_breaks_a_chart() {
        let column = |a: f64, b: f64| Column { name: "<x>".into(), parts: [a, b], said: "\"said\"".into() };
        let text = columns("t", &[column(1.0, 2.0), column(0.0, 0.0)], &["a", "b"], |v| format!("{v}")).into_string();
        assert!(text.contains("&lt;x&gt;") && !text.contains("NaN"));
        assert!(!columns("t", &[], &[], |v| format!("{v}")).into_string().contains("NaN"));
        assert!(!meter("m", 0, 0, None, 0).into_string().contains("NaN"));
        assert!(meter("m", 5, i64::MAX, Some(i64::MAX), 10).into_string().contains("over"));
    }
}
