//! Logs and what they mean: real ones from files, and one short text per class, in the shapes that logs arrive in.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails"
)]

use charter_engines::log::explain;

fn check(name: &str, log: &str, class: &str, phase: &str) {
    let found = explain(log);
    assert_eq!((found.class, found.phase.as_str()), (class, phase), "{name}: {found:?}");
}

const START: &str = "(APIServer pid=1) INFO 11-20 10:00:00 [api.py:1] vLLM API server version 0.19.1\n\
(APIServer pid=1) INFO 11-20 10:00:01 [model.py:1] Resolved architecture: LlamaForCausalLM\n\
(EngineCore_DP0 pid=2) INFO 11-20 10:00:02 [core.py:1] Initializing a V1 LLM engine (v0.19.1) with config: x\n";
const LOADED: &str = "(EngineCore_DP0 pid=2) INFO 11-20 10:00:03 [m.py:1] Starting to load model x...\n\
(EngineCore_DP0 pid=2) INFO 11-20 10:00:09 [m.py:1] Model loading took 14.99 GiB memory and 3.3 seconds\n";
const READY: &str = "INFO:     Started server process [1]\nINFO:     Application startup complete.\n";

#[test]
fn real_logs() {
    check("healthy", include_str!("logs/ok-cpu-0.32.log"), "ok_ready", "running");
    check("bad flag", include_str!("logs/bad-args-0.32.log"), "bad_args", "process");
    check("no model", include_str!("logs/no-model-0.32.log"), "model_not_found", "config");
    let long = explain(include_str!("logs/too-long-0.32.log"));
    assert_eq!((long.class, long.suggest), ("max_len_exceeds_model", vec![("max-model-len", 2048)]));
}

#[test]
fn a_class_each() {
    let cases = [
        (
            "docker: Error response from daemon: could not select device driver \"\" with capabilities: [[gpu]].",
            "container_gpu_runtime",
            "container",
        ),
        ("failed to inject CDI devices: unresolvable CDI devices nvidia.com/gpu=all", "container_gpu_runtime", "container"),
        ("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.9", "container_driver_too_old", "container"),
        ("vllm: error: unrecognized arguments: serve", "bad_args", "process"),
        (
            "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89. Current capability: 86.",
            "quant_unsupported_gpu",
            "engine-init",
        ),
        ("OSError: [Errno 28] No space left on device", "disk_full", "download"),
        (
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            "no_kernel_for_gpu",
            "engine-init",
        ),
        ("RuntimeError: Failed to infer device type", "no_gpu_visible", "engine-init"),
        (
            "ValueError: Free memory on device cuda:0 (1.0/23.5 GiB) on startup is less than desired GPU memory utilization (0.9, 21.2 GiB).",
            "gpu_mem_in_use",
            "engine-init",
        ),
        (
            "ValueError: Total number of attention heads (40) must be divisible by tensor parallel size (3).",
            "tp_invalid",
            "engine-init",
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`.",
            "kv_cache_zero",
            "kv-cache",
        ),
        (
            "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
            "corrupt_weights",
            "load",
        ),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: x)", "hf_auth", "config"),
        ("OSError: We couldn't connect to 'https://huggingface.co' to load the files", "hub_unreachable", "engine-init"),
        ("RuntimeError: NCCL error: unhandled system error", "nccl_error", "engine-init"),
        ("Killed", "host_oom", "engine-init"),
        ("ImportError: /x/_C.abi3.so: undefined symbol: _ZN3c10", "env_broken", "engine-init"),
    ];
    for (line, class, phase) in cases {
        check(line, &format!("{START}{line}\n"), class, phase);
    }
}

#[test]
fn the_root_comes_before_its_wrappers() {
    let log = format!(
        "{START}{LOADED}(EngineCore_DP0 pid=2) ERROR 11-20 10:00:10 [core.py:9] Traceback (most recent call last):\n\
         (EngineCore_DP0 pid=2) ERROR 11-20 10:00:10 [core.py:9] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.\n\
         (APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{'EngineCore_DP0': 1}}\n"
    );
    check("wrapped", &log, "cuda_oom", "loaded");
}

#[test]
fn the_length_that_would_have_worked_is_read() {
    let text = "ValueError: To serve at least one request with the model's max seq len (32768), (4.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.69 GiB). Based on the available memory, the estimated maximum model length is 5632.";
    let found = explain(&format!("{START}{LOADED}{text}\n"));
    assert_eq!(
        (found.class, found.suggest.clone(), found.phase.as_str()),
        ("kv_cache_too_small", vec![("max-model-len", 5632)], "kv-cache")
    );
    // A terminal of 80 columns wraps it anywhere, and colours it.
    let wrapped: String =
        text.as_bytes().chunks(80).map(|c| format!("\u{1b}[31m{}\u{1b}[0m\n", String::from_utf8_lossy(c))).collect();
    let found = explain(&format!("{START}{LOADED}{wrapped}"));
    assert_eq!((found.class, found.suggest), ("kv_cache_too_small", vec![("max-model-len", 5632)]));
}

#[test]
fn a_container_runtime_may_put_its_own_words_before_every_line() {
    let log: String = format!("{START}{LOADED}ValueError: No available memory for the cache blocks.\n")
        .lines()
        .map(|l| format!("2026-11-20T10:00:00.123456789Z stderr F {l}\n"))
        .collect();
    check("kubernetes", &log, "kv_cache_zero", "kv-cache");
}

#[test]
fn advice_and_optional_files_are_no_failures() {
    let log = format!(
        "{START}(APIServer pid=1) WARNING 11-20 10:00:01 [x.py:1] Reduce max-num-seqs to avoid out-of-memory. CUDA out of memory. Tried to allocate\n\
         huggingface_hub.utils.EntryNotFoundError: 404 Client Error. preprocessor_config.json\n\
         DEBUG 11-20 10:00:00 [p.py:1] Exception happens when checking CUDA platform: NVML Shared Library Not Found\n"
    );
    check("advice", &log, "starting", "engine-init");
    check("healthy", &format!("{log}{LOADED}{READY}"), "ok_ready", "running");
}

#[test]
fn an_error_that_was_outlived_does_not_count() {
    let log = format!(
        "{START}requests.exceptions.ReadTimeout: read timed out, retrying\n{LOADED}ValueError: No available memory for the cache blocks.\n"
    );
    check("outlived", &log, "kv_cache_zero", "kv-cache");
}

#[test]
fn a_crash_after_a_healthy_start_is_the_crash() {
    let healthy = format!("{START}{LOADED}{READY}");
    let dead = "(APIServer pid=1) ERROR 11-20 11:00:00 [async.py:1] vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\n";
    check("other", &format!("{healthy}{dead}"), "engine_crash_other", "running");
    let fault = "(EngineCore_DP0 pid=2) ERROR 11-20 11:00:00 [x.py:1] torch.AcceleratorError: CUDA error: an illegal memory access was encountered\n";
    check("cuda", &format!("{healthy}{fault}{dead}"), "engine_crash_cuda", "running");
    let refused =
        "(APIServer pid=1) ERROR 11-20 11:00:00 [s.py:1] ValueError: This model's maximum context length is 1024 tokens.\n";
    check("one bad request", &format!("{healthy}{refused}"), "ok_ready", "running");
}

#[test]
fn an_exception_nobody_knows_is_the_engines_bug_or_unknown() {
    let inside = "Traceback (most recent call last):\n  File \"/x/vllm/v1/core.py\", line 1, in f\n    g()\nAttributeError: 'NoneType' object has no attribute 'x'\n";
    check("inside", &format!("{START}{inside}"), "vllm_bug", "engine-init");
    let outside = inside.replace("/vllm/v1/core.py", "/site/plugin.py");
    check("outside", &format!("{START}{outside}"), "unknown", "engine-init");
}

#[test]
fn of_several_starts_the_last_one_counts() {
    let failed = format!("{START}{LOADED}ValueError: No available memory for the cache blocks.\n");
    check("healed", &format!("{failed}{START}{LOADED}{READY}"), "ok_ready", "running");
}

#[test]
fn an_empty_or_hostile_log_is_no_panic() {
    for log in ["", "\n\n", "\u{1b}[", "\u{0}\u{1}", &"x".repeat(100_000), "(((((pid=", "ERROR 1"] {
        let found = explain(log);
        assert!(matches!(found.class, "unknown" | "starting"), "{found:?}");
    }
}

/// Logs in the manner of many versions and of what runs around the engine, each named after what it means. Their wordings were
/// collected after the rules had been written; of those that were not met at first the rules were mended.
#[test]
fn wordings_of_many_versions() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/logs/wordings");
    let mut missed = vec![];
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("logs").map(|e| e.expect("entry").path()).collect();
    files.sort();
    for file in &files {
        let name = file.file_stem().expect("name").to_string_lossy().into_owned();
        let (_, class) = name.split_once('-').expect("a class");
        let found = explain(&String::from_utf8_lossy(&std::fs::read(file).expect("log")));
        if found.class != class {
            missed.push(format!("{name}: {} ({})", found.class, found.evidence));
        }
    }
    assert!(files.len() >= 184 && missed.is_empty(), "{} of {}:\n{}", missed.len(), files.len(), missed.join("\n"));
}

#[test]
fn a_token_that_a_log_repeats_is_not_repeated() {
    let log = format!("{START}ValueError: HF_TOKEN=hf_abcdefghijklmnopqrstuvwx is not allowed here\n");
    let found = explain(&log);
    assert!(!found.evidence.contains("hf_abc"), "{found:?}");
}
