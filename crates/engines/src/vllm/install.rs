//! A vLLM installed into a virtual environment on a bare machine: which wheels, in which order, checked after each step.
//!
//! Up to 0.8 the engine's package brings no CUDA build of torch, and numpy 2 breaks it; from 0.9 on it pins its own torch,
//! which is installed with it from the index that fits the driver.

use crate::vllm::version::{Version, numbers};

/// One step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is installed, for people and for the marker file.
    pub name: &'static str,
    /// Arguments of `pip install`.
    pub pip: Vec<String>,
    /// A wheel that the makers publish beside the package index; taken when the index fails.
    pub wheel: Option<String>,
    /// Python that must succeed afterwards.
    pub check: &'static str,
    /// How long it may take.
    pub timeout_seconds: u32,
    /// A failure ends the installation; else it is a warning.
    pub required: bool,
}

/// The CUDA build of torch that fits a driver, as the wheel index names it, for engines up to 0.8.
#[must_use]
pub fn cuda_tag(driver: Option<&str>) -> &'static str {
    let major: Option<u32> = driver.and_then(|d| d.split('.').next()).and_then(|m| m.trim().parse().ok());
    match major {
        Some(major) if (470..525).contains(&major) => "cu118",
        _ => "cu121",
    }
}

/// The CUDA build for engines from 0.9 on, which pin their own torch.
#[must_use]
pub fn cuda_tag_pinned(driver: Option<&str>) -> &'static str {
    let major: Option<u32> = driver.and_then(|d| d.split('.').next()).and_then(|m| m.trim().parse().ok());
    match major {
        Some(major) if major >= 580 => "cu130",
        Some(major) if major >= 570 => "cu128",
        Some(major) if major < 525 => "cu118",
        Some(major) if major < 550 => "cu121",
        Some(_) => "cu126",
        None => "cu128",
    }
}

fn index(tag: &str) -> String {
    format!("https://download.pytorch.org/whl/{tag}")
}

/// The wheel that is published with a release.
fn wheel(version: &Version) -> Option<String> {
    let Version::Release(release) = version else { return None };
    let file = format!("vllm-{release}-cp38-abi3-manylinux1_x86_64.whl");
    Some(format!("https://github.com/vllm-project/vllm/releases/download/v{release}/{file}"))
}

/// The steps for a version on a machine with this driver; `None` means that it has no GPU driver.
#[must_use]
pub fn steps(version: &Version, driver: Option<&str>) -> Vec<Step> {
    let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let wanted = match version {
        Version::Release(release) => text(&[&format!("vllm=={release}")]),
        Version::Nightly => text(&["--pre", "vllm", "--extra-index-url", "https://wheels.vllm.ai/nightly"]),
        Version::Commit(commit) => text(&["--pre", "vllm", "--extra-index-url", &format!("https://wheels.vllm.ai/{commit}")]),
    };
    let old = matches!(version, Version::Release(release) if numbers(release) < vec![0, 9, 0]);
    let engine_check = "from vllm import LLM";
    let numpy = Step {
        name: "numpy",
        pip: text(&["numpy>=1.26,<2.0"]),
        wheel: None,
        check: "import numpy; assert numpy.__version__ < '2'",
        timeout_seconds: 120,
        required: false,
    };
    if old {
        let torch = Step {
            name: "torch",
            pip: text(&["torch", "--index-url", &index(cuda_tag(driver))]),
            wheel: None,
            check: if driver.is_some() {
                "import torch; assert torch.cuda.is_available(), 'torch sees no CUDA'"
            } else {
                "import torch"
            },
            timeout_seconds: 600,
            required: true,
        };
        let engine = Step {
            name: "vllm",
            pip: [wanted, text(&["numpy>=1.26,<2.0"])].concat(),
            wheel: wheel(version),
            check: engine_check,
            timeout_seconds: 600,
            required: true,
        };
        return vec![torch, numpy, engine];
    }
    let mut pip = wanted;
    pip.extend(text(&["--extra-index-url", &index(cuda_tag_pinned(driver))]));
    let cuda = Step {
        name: "cuda",
        pip: vec![],
        wheel: None,
        check: if driver.is_some() {
            "import torch; assert torch.cuda.is_available(), 'torch sees no CUDA'"
        } else {
            "import torch"
        },
        timeout_seconds: 120,
        required: true,
    };
    vec![Step { name: "vllm", pip, wheel: wheel(version), check: engine_check, timeout_seconds: 1800, required: true }, cuda]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_chooses_the_cuda_build() {
        let cases = [
            (Some("535.104.05"), "cu121"),
            (Some("525.60.13"), "cu121"),
            (Some("470.82.01"), "cu118"),
            (Some("524.1"), "cu118"),
            (None, "cu121"),
            (Some("x"), "cu121"),
        ];
        for (driver, tag) in cases {
            assert_eq!(cuda_tag(driver), tag, "{driver:?}");
        }
        assert_eq!(cuda_tag_pinned(Some("580.65.06")), "cu130");
        assert_eq!(cuda_tag_pinned(Some("550.54.14")), "cu126");
    }

    #[test]
    fn an_old_engine_gets_torch_then_numpy_then_itself() {
        let steps = steps(&Version::Release("0.8.5".into()), Some("535.104.05"));
        let shape: Vec<_> = steps.iter().map(|s| (s.name, s.timeout_seconds, s.required)).collect();
        assert_eq!(shape, [("torch", 600, true), ("numpy", 120, false), ("vllm", 600, true)]);
        assert!(steps[0].pip.contains(&"https://download.pytorch.org/whl/cu121".to_owned()));
        assert!(steps[2].pip.contains(&"vllm==0.8.5".to_owned()));
    }

    #[test]
    fn a_new_engine_brings_its_own_torch_and_is_checked_for_cuda() {
        let steps = steps(&Version::Release("0.33.0".into()), Some("580.1"));
        assert_eq!(steps.iter().map(|s| s.name).collect::<Vec<_>>(), ["vllm", "cuda"]);
        assert!(steps[1].check.contains("cuda.is_available"));
    }
}
