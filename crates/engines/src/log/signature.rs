//! What failures look like. The order matters: on one line the first class that matches counts.

use crate::log::phase::Phase;
use charter_domain::cause::Action;

/// A failure class and how it shows itself.
pub(crate) struct Signature {
    pub(crate) class: &'static str,
    /// Alternatives; all parts of one must stand in the line, in this order.
    pub(crate) texts: &'static [&'static [&'static str]],
    /// The phase it always belongs to; `None` takes the phase the log has reached.
    pub(crate) phase: Option<Phase>,
    pub(crate) action: Action,
    pub(crate) hint: &'static str,
}

const fn sign(
    class: &'static str,
    phase: Option<Phase>,
    action: Action,
    hint: &'static str,
    texts: &'static [&'static [&'static str]],
) -> Signature {
    Signature { class, texts, phase, action, hint }
}

use Action::{AskUser, ChangeProfile, OtherHost, RetryHere};

/// Root causes, most telling first.
pub(crate) const SIGNATURES: &[Signature] = &[
    sign(
        "container_gpu_runtime",
        Some(Phase::Container),
        OtherHost,
        "the host cannot give its GPUs to containers; only another host helps",
        &[
            &["could not select device driver", "gpu"],
            &["failed to inject CDI devices"],
            &["unresolvable CDI devices"],
            &["failed to create shim task"],
            &["nvidia-container-cli: initialization error"],
        ],
    ),
    sign(
        "container_driver_too_old",
        Some(Phase::Container),
        OtherHost,
        "the host's driver is too old for the image; ask for hosts with a newer CUDA",
        &[&["nvidia-container-cli: requirement error"], &["unsatisfied condition: cuda"]],
    ),
    sign(
        "bad_args",
        Some(Phase::Process),
        ChangeProfile,
        "correct `extra-args` and `options`; the flag must exist in this engine version",
        &[
            &["error: unrecognized arguments:"],
            &["error: argument ", ":"],
            &["invalid choice:"],
            &["error: the following arguments are required"],
            &["error: ambiguous option"],
        ],
    ),
    sign(
        "max_len_exceeds_model",
        Some(Phase::Config),
        ChangeProfile,
        "lower `max-model-len` to what the model was made for",
        &[&["User-specified max_model_len", "is greater than the derived max_model_len"]],
    ),
    sign(
        "kv_cache_too_small",
        Some(Phase::KvCache),
        ChangeProfile,
        "lower `max-model-len`, raise `gpu-memory-utilization`, or use an fp8 KV cache",
        &[
            &["To serve at least one request with the model", "KV cache is needed"],
            &["max seq len", "is larger than the maximum number of tokens that can be stored in KV cache"],
            &["larger than the available KV cache memory"],
        ],
    ),
    sign(
        "kv_cache_zero",
        Some(Phase::KvCache),
        ChangeProfile,
        "the weights fill the card: more memory, more cards, or a quantized model",
        &[&["No available memory for the cache blocks"]],
    ),
    sign(
        "gpu_mem_in_use",
        None,
        OtherHost,
        "another process holds memory of this GPU; take another machine or lower `gpu-memory-utilization`",
        &[&["Free memory on device", "is less than desired GPU memory utilization"]],
    ),
    sign(
        "tp_invalid",
        None,
        ChangeProfile,
        "`tensor-parallel-size` must divide the attention heads and not exceed the GPUs",
        &[
            &["Total number of attention heads", "must be divisible by tensor parallel size"],
            &["World size", "is larger than the number of available GPUs"],
            &["must be divisible by tensor parallel size"],
        ],
    ),
    sign(
        "dtype_unsupported_gpu",
        None,
        ChangeProfile,
        "this GPU has no bfloat16: set `dtype: half`, or take a newer card",
        &[&["Bfloat16 is only supported on GPUs with compute capability"]],
    ),
    sign(
        "quant_unsupported_gpu",
        None,
        ChangeProfile,
        "this GPU cannot run the quantization: choose another one, or a newer card",
        &[
            &["The quantization method", "is not supported for the current GPU"],
            &["requires compute capability"],
            &["FP8", "is only supported", "compute capability"],
        ],
    ),
    sign(
        "no_kernel_for_gpu",
        None,
        ChangeProfile,
        "this build has no code for this GPU: take a newer engine version, or another card",
        &[
            &["no kernel image is available for execution on the device"],
            &["is not compatible with the current PyTorch installation"],
            &["ptxas", "sm_"],
            &["Unsupported gpu architecture"],
        ],
    ),
    sign(
        "driver_mismatch",
        None,
        OtherHost,
        "driver and CUDA of this host do not go together; take another host",
        &[
            &["Error 803:"],
            &["Error 804:"],
            &["CUDA driver version is insufficient for CUDA runtime version"],
            &["The NVIDIA driver on your system is too old"],
            &["system has unsupported display driver"],
        ],
    ),
    sign(
        "no_gpu_visible",
        None,
        OtherHost,
        "the engine sees no GPU: look at `nvidia-smi` there, or take another host",
        &[
            &["Failed to infer device type"],
            &["No CUDA GPUs are available"],
            &["Found no NVIDIA driver"],
            &["Unexpected error from cudaGetDeviceCount()"],
            &["no CUDA-capable device is detected"],
        ],
    ),
    sign(
        "fork_cuda_reinit",
        None,
        ChangeProfile,
        "set `VLLM_WORKER_MULTIPROC_METHOD: spawn` in `env`",
        &[&["Cannot re-initialize CUDA in forked subprocess"]],
    ),
    sign(
        "hf_auth",
        Some(Phase::Config),
        AskUser,
        "accept the model's licence and give `HF_TOKEN` in `env`",
        &[
            &["GatedRepoError"],
            &["You are trying to access a gated repo"],
            &["Access to model", "is restricted"],
            &["401 Client Error"],
            &["403 Client Error"],
            &["Cannot access gated repo"],
            &["Invalid user token"],
            &["Invalid username or password"],
        ],
    ),
    sign(
        "model_not_found",
        Some(Phase::Config),
        ChangeProfile,
        "check the model's name or path; a private model also needs `HF_TOKEN`",
        &[
            &["is not a valid model identifier"],
            &["Invalid repository ID or local directory specified"],
            &["HFValidationError"],
            &["RepositoryNotFoundError"],
            &["is not a local folder and is not a valid"],
            &["404 Client Error", "Repository Not Found"],
            &["RevisionNotFoundError"],
            &["Repo id must be in the form"],
        ],
    ),
    sign(
        "disk_full",
        Some(Phase::Download),
        ChangeProfile,
        "ask for more `disk`, or point the cache to a larger one",
        &[&["No space left on device"], &["[Errno 28]"], &["(os error 28)"], &["Disk quota exceeded"]],
    ),
    sign(
        "hub_unreachable",
        None,
        RetryHere,
        "the model hub cannot be reached from that machine: try again, use a mirror, or a local path",
        &[
            &["couldn't connect to 'https://huggingface.co'"],
            &["Max retries exceeded"],
            &["LocalEntryNotFoundError"],
            &["504 Server Error"],
            &["503 Server Error"],
            &["ReadTimeout"],
            &["ConnectTimeout"],
            &["Cannot reach https://"],
            &["OfflineModeIsEnabled"],
            &["Temporary failure in name resolution"],
        ],
    ),
    sign(
        "corrupt_weights",
        Some(Phase::Load),
        RetryHere,
        "delete the downloaded files of this model and load them again",
        &[
            &["Error while deserializing header"],
            &["MetadataIncompleteBuffer"],
            &["SafetensorError"],
            &["invalid header"],
            &["HeaderTooLarge"],
            &["version https://git-lfs"],
            &["PytorchStreamReader failed"],
        ],
    ),
    sign(
        "unsupported_arch",
        Some(Phase::Config),
        ChangeProfile,
        "this version does not know the model: take a newer engine version",
        &[
            &["does not recognize this architecture"],
            &["are not supported for now"],
            &["failed to be inspected"],
            &["has no vLLM implementation"],
            &["Model architectures", "not supported"],
        ],
    ),
    sign(
        "weights_mismatch",
        Some(Phase::Load),
        ChangeProfile,
        "weights and loader do not fit: other engine version, or other `quantization`",
        &[
            &["KeyError: '", "layers."],
            &["no module or parameter named"],
            &["size mismatch for"],
            &["Attempted to load weight", "into parameter"],
            &["weights were not initialized from checkpoint"],
        ],
    ),
    sign(
        "cuda_oom",
        None,
        ChangeProfile,
        "too little GPU memory: smaller `max-num-seqs` or `max-model-len`, a quantized model, or a larger card",
        &[
            &["CUDA out of memory. Tried to allocate"],
            &["torch.OutOfMemoryError"],
            &["torch.cuda.OutOfMemoryError"],
            &["CUDA driver error: out of memory"],
            &["CUDA error: out of memory"],
            &["HIP out of memory"],
            &["occurred when warming up sampler"],
        ],
    ),
    sign(
        "engine_crash_cuda",
        None,
        RetryHere,
        "a fault on the GPU: started again; if it comes back, the host is bad",
        &[
            &["an illegal memory access was encountered"],
            &["device-side assert"],
            &["fallen off the bus"],
            &["NVRM: Xid"],
            &["CUDA error: unspecified launch failure"],
            &["CUDA error: misaligned address"],
            &["uncorrectable ECC error"],
        ],
    ),
    sign(
        "nccl_error",
        None,
        OtherHost,
        "the GPUs cannot talk to each other: more shared memory, `NCCL_P2P_DISABLE: \"1\"`, or another host",
        &[
            &["NCCL error"],
            &["ncclUnhandledCudaError"],
            &["ncclSystemError"],
            &["ncclInternalError"],
            &["ncclRemoteError"],
            &["unhandled system error"],
            &["Watchdog caught collective operation timeout"],
            &["custom_all_reduce", "P2P"],
        ],
    ),
    sign(
        "port_in_use",
        Some(Phase::Process),
        RetryHere,
        "another program holds the port; the next start takes another one",
        &[&["[Errno 98]"], &["Address already in use"], &["error while attempting to bind on address"]],
    ),
    sign(
        "host_oom",
        None,
        OtherHost,
        "the machine ran out of main memory: take one with more, or lower `swap-space`",
        &[
            &["ray.exceptions.OutOfMemoryError"],
            &["Cannot allocate memory"],
            &["[Errno 12]"],
            &["exit code 137"],
            &["exited with code 137"],
            &["Out of memory: Killed process"],
            &["oom-kill"],
            &["DefaultCPUAllocator: can't allocate memory"],
            &["SIGKILL"],
        ],
    ),
    sign(
        "startup_timeout",
        Some(Phase::EngineReady),
        OtherHost,
        "the engine did not come up in its own time: raise `VLLM_ENGINE_READY_TIMEOUT_S`, or take a faster host",
        &[&["Timed out waiting for engine core processes to start"], &["Timed out waiting for engine processes to start"]],
    ),
    sign(
        "env_broken",
        None,
        ChangeProfile,
        "the engine's environment is broken: other version, or another `source`",
        &[
            &["undefined symbol"],
            &["ImportError:"],
            &["ModuleNotFoundError:"],
            &["appears to be a URI"],
            &["numpy.core.multiarray failed to import"],
            &["numpy.dtype size changed"],
            &["numpy.lib.function_base"],
            &["Failed to find C compiler"],
            &["cannot open shared object file"],
            &["command not found"],
            &["compiled using NumPy 1"],
            &["error while loading shared libraries"],
            &["charter: step", "failed"],
            &["run.sh: ", ": not found"],
            &["run.sh: ", "Permission denied"],
        ],
    ),
];

/// Lines that name a failure only to wrap it, to advise, or to say that something optional is missing.
pub(crate) const NEVER: &[&str] = &[
    "Engine core initialization failed",
    "See root cause above",
    "died unexpectedly",
    "ChildFailedError",
    "to avoid out-of-memory",
    "Exception happens when checking",
    "leaked shared_memory",
    "leaked semaphore",
    "FutureWarning",
    "UserWarning",
    "DeprecationWarning",
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "chat_template",
    "adapter_config.json",
    "During handling of the above exception",
    "The above exception was the direct cause",
    "Please check the logs above",
];

/// Words of a dead engine after a healthy start.
pub(crate) const DEATH: &[&str] = &[
    "EngineDeadError",
    "EngineCore encountered",
    "Engine core proc",
    "engine process failed",
    "AsyncEngineDeadError",
    "died unexpectedly",
    "Engine background task failed",
    "EngineCore failed",
    "fatal error",
    "Segmentation fault",
];

/// Does `text` hold all parts of one alternative, in order?
pub(crate) fn matches(signature: &Signature, text: &str) -> bool {
    signature.texts.iter().any(|parts| {
        let mut rest = text;
        parts.iter().all(|part| match rest.split_once(part) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}
