//! The dead man's switch: a rented machine ends itself when nobody has looked after it for a while.
//!
//! Every script that the control plane runs there touches a file. A loop that was begun with the container watches the file;
//! it counts its own rounds, so that a clock that jumps ends nothing. When the file has not been touched for the time that is
//! set, it tells the engine to end, and deletes the instance with the key that the service gives each container for itself.

use charter_domain::time::Span;

/// The part of a start script that watches. `base` is the service's address.
pub(super) fn script(base: &str, silence: Span) -> String {
    let limit = (silence.0 / 1000).max(1);
    let round = (limit / 4).clamp(1, 30);
    let grace = (limit / 10).clamp(1, 20);
    let path = "/api/v0/instances/";
    format!(
        r#"mkdir -p ~/.charter; : > ~/.charter/lease
cat > ~/.charter/switch.sh <<'END'
n=0 seen=
while sleep {round}; do
  now=$(stat -c %Y ~/.charter/lease 2>/dev/null)
  if [ "$now" != "$seen" ]; then seen=$now n=0; continue; fi
  n=$((n + {round})); [ $n -lt {limit} ] && continue
  for file in ~/.charter/instances/*/launch-*/pid; do [ -f "$file" ] && kill -TERM -- "-$(cat "$file")" 2>/dev/null; done
  sleep {grace}
  printf 'header = "Authorization: Bearer %s"\n' "$CONTAINER_API_KEY" |
    curl -fsS -m 60 -K - -X DELETE -H 'content-type: application/json' -d '{{}}' "{base}{path}$CONTAINER_ID/" ||
    python3 -c 'import os, urllib.request as u; e = os.environ; u.urlopen(u.Request("{base}{path}" + e["CONTAINER_ID"] + "/", b"{{}}", {{"Authorization": "Bearer " + e["CONTAINER_API_KEY"], "content-type": "application/json"}}, method="DELETE"), timeout=60)'
done
END
setsid sh ~/.charter/switch.sh </dev/null >/dev/null 2>&1 &
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_shorter_than_the_silence_that_is_borne() {
        let half_an_hour = script("https://console.vast.ai", Span::min(30));
        assert!(half_an_hour.contains("while sleep 30;") && half_an_hour.contains("-lt 1800 ]"), "{half_an_hour}");
        assert!(half_an_hour.len() < 2500, "a start script may hold four kilobytes");
        let four = script("http://127.0.0.1:1", Span::s(4));
        assert!(four.contains("while sleep 1;") && four.contains("-lt 4 ]"), "{four}");
    }
}
