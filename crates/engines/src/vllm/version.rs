//! Which vLLM a profile means.

/// The newest stable release known when this was built; taken when the release list cannot be had.
pub const BUILT_IN: &str = "0.33.0";

/// Where the list of releases is published.
pub const RELEASES_URL: &str = "https://api.github.com/repos/vllm-project/vllm/releases?per_page=30";

/// A version as it was resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// A release.
    Release(String),
    /// Last night's build.
    Nightly,
    /// The build of one commit.
    Commit(String),
}

impl Version {
    /// Reads what a profile says; `newest` stands in for an empty text.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn resolve(wanted: &str, newest: &str) -> Result<Self, String> {
        let wanted = if wanted.is_empty() { newest } else { wanted };
        if wanted == "nightly" {
            return Ok(Self::Nightly);
        }
        if wanted.len() == 40 && wanted.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Self::Commit(wanted.to_ascii_lowercase()));
        }
        if is_release(wanted) {
            return Ok(Self::Release(wanted.to_owned()));
        }
        Err(format!("`{wanted}` is no engine version: leave it empty, or write `x.y.z`, `nightly` or a commit of 40 hex digits"))
    }

    /// The tag of the official image.
    #[must_use]
    pub fn image_tag(&self) -> String {
        match self {
            Self::Release(version) => format!("v{version}"),
            Self::Nightly => "nightly".to_owned(),
            Self::Commit(commit) => format!("nightly-{commit}"),
        }
    }

    /// What is stored and shown.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Release(version) | Self::Commit(version) => version.clone(),
            Self::Nightly => "nightly".to_owned(),
        }
    }
}

/// The CUDA that the official image of a version is built with, in tenths: a host must run at least that. Releases between two
/// known points count as the later one.
#[must_use]
pub fn image_cuda_tenths(version: &Version) -> u32 {
    let Version::Release(release) = version else { return 130 };
    let known: [(u32, u32); 5] = [(6, 121), (9, 124), (11, 128), (27, 129), (u32::MAX, 130)];
    let minor = numbers(release).get(1).copied().unwrap_or(0);
    known.iter().find(|(before, _)| minor < *before).map_or(130, |(_, cuda)| *cuda)
}

fn is_release(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let number = |p: &&str| !p.is_empty() && p.len() <= 4 && p.bytes().all(|b| b.is_ascii_digit());
    parts.len() == 3 && parts.iter().all(number)
}

/// The newest stable release in the published list, which is JSON with `tag_name`, `prerelease` and `draft`.
#[must_use]
pub fn newest(list: &str) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Release {
        tag_name: String,
        #[serde(default)]
        prerelease: bool,
        #[serde(default)]
        draft: bool,
    }
    let releases: Vec<Release> = serde_json::from_str(list).ok()?;
    let stable = releases.into_iter().filter(|r| !r.prerelease && !r.draft);
    let versions = stable.filter_map(|r| r.tag_name.strip_prefix('v').filter(|v| is_release(v)).map(str::to_owned));
    versions.max_by_key(|v| numbers(v))
}

/// The three numbers of a release, for comparing.
#[must_use]
pub fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|p| p.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_become_image_tags() {
        let commit = "0123456789abcdef0123456789ABCDEF01234567";
        let cases = [
            ("", "v0.33.0"),
            ("0.19.1", "v0.19.1"),
            ("nightly", "nightly"),
            (commit, "nightly-0123456789abcdef0123456789abcdef01234567"),
        ];
        for (wanted, tag) in cases {
            assert_eq!(Version::resolve(wanted, "0.33.0").map(|v| v.image_tag()), Ok(tag.to_owned()));
        }
        for wrong in ["latest", "v0.19.1", "0.19", "1.2.3.4", "0.19.1; rm", "12345"] {
            assert!(Version::resolve(wrong, "0.33.0").is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_newest_stable_release_is_found_in_any_order() {
        let list = r#"[{"tag_name":"v0.34.0rc1","prerelease":true},{"tag_name":"v0.9.2"},{"tag_name":"v0.33.0"},{"tag_name":"v0.40.0","draft":true},{"tag_name":"weird"}]"#;
        assert_eq!(newest(list).as_deref(), Some("0.33.0"));
        assert_eq!(newest("<html>"), None);
    }
}
