//! The engine stand-in: vLLM's command line, log and API without a model.

use crate::anthropic;
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// How the stand-in behaves beside its command line.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The key that `/v1` asks for, as vLLM reads it from its environment.
    pub key: Option<String>,
    /// How long the whole start takes.
    pub start: Duration,
    /// Until an answer begins: the time for reading its prompt.
    pub first: Duration,
    /// Between two tokens of a stream.
    pub token: Duration,
    /// Where each start is written down, one line each: for counting.
    pub starts: Option<std::path::PathBuf>,
    /// What is written down.
    pub mark: String,
    /// How it fails: `driver`, `oom`, `first-prompt`; nothing else fails it.
    pub trouble: String,
}

/// The longest context that the stand-in's model was made for.
const MODEL_LENGTH: u64 = 32_768;
/// What its cache holds.
const CACHE_TOKENS: u64 = 65_536;

struct Options {
    model: String,
    names: Vec<String>,
    address: SocketAddr,
    length: u64,
    lora: Vec<String>,
}

/// Switches of vLLM that the stand-in accepts, and flags with a value.
const SWITCHES: [&str; 7] = [
    "--enforce-eager",
    "--trust-remote-code",
    "--enable-prefix-caching",
    "--no-enable-prefix-caching",
    "--enable-lora",
    "--enable-chunked-prefill",
    "--enable-auto-tool-choice",
];
const VALUES: [&str; 17] = [
    "--dtype",
    "--quantization",
    "--kv-cache-dtype",
    "--max-num-seqs",
    "--gpu-memory-utilization",
    "--seed",
    "--revision",
    "--swap-space",
    "--tensor-parallel-size",
    "--max-num-batched-tokens",
    "--tool-call-parser",
    "--reasoning-parser",
    "--max-lora-rank",
    "--max-loras",
    "--load-format",
    "--tokenizer",
    "--download-dir",
];

fn parse(args: &[String]) -> Result<Options, String> {
    let (mut words, mut values, mut lora, mut names) = (vec![], BTreeMap::new(), vec![], vec![]);
    let mut rest = args.iter().peekable();
    while let Some(arg) = rest.next() {
        let mut many = || {
            let mut all = vec![];
            while let Some(next) = rest.next_if(|n| !n.starts_with("--")) {
                all.push(next.clone());
            }
            all
        };
        match arg.as_str() {
            "--lora-modules" => lora = many(),
            "--served-model-name" => names = many(),
            flag if SWITCHES.contains(&flag) => {}
            flag if VALUES.contains(&flag) || ["--host", "--port", "--max-model-len"].contains(&flag) => {
                let value = rest.next().ok_or_else(|| format!("argument {flag}: expected one argument"))?;
                values.insert(flag.to_owned(), value.clone());
            }
            flag if flag.starts_with('-') => return Err(format!("unrecognized arguments: {flag}")),
            word => words.push(word.to_owned()),
        }
    }
    if words.first().is_some_and(|w| w == "serve") {
        words.remove(0);
    }
    let [model] = words.as_slice() else {
        return Err(format!("unrecognized arguments: {}", words.join(" ")));
    };
    let number = |flag: &str, default: u64| match values.get(flag) {
        Some(text) => text.parse().map_err(|_| format!("argument {flag}: invalid int value: '{text}'")),
        None => Ok(default),
    };
    let host = values.get("--host").map_or("0.0.0.0", String::as_str);
    let address =
        format!("{host}:{}", number("--port", 8000)?).parse().map_err(|_| format!("argument --host: invalid value: '{host}'"))?;
    if names.is_empty() {
        names.push(model.clone());
    }
    Ok(Options { model: model.clone(), names, address, length: number("--max-model-len", 8192)?, lora })
}

#[expect(clippy::print_stdout, reason = "the log of the stand-in is its standard output, as it is vLLM's")]
fn log(process: &str, text: &str) {
    println!("({process} pid={}) INFO 11-20 18:00:01 [standin.rs:1] {text}", std::process::id());
}

#[expect(clippy::print_stdout, reason = "as above")]
fn raw(text: &str) {
    println!("{text}");
}

/// Runs until it is ended. The exit status is vLLM's: 2 for a wrong command line, 1 for a failed start, 0 when told to end.
pub async fn run(args: &[String], behaviour: Behaviour) -> u8 {
    if let Some(file) = &behaviour.starts {
        let line = format!("{}\n", behaviour.mark);
        let written = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(file)
            .and_then(|mut f| std::io::Write::write_all(&mut f, line.as_bytes()));
        if written.is_err() {
            raw("the start could not be written down");
        }
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(why) => {
            raw(&format!("usage: vllm serve [model_tag] [options]\nvllm: error: {why}"));
            return 2;
        }
    };
    match start(&options, &behaviour).await {
        Ok(listener) => serve(listener, options, behaviour).await,
        Err(why) => {
            raw(&why);
            1
        }
    }
}

/// Goes through the phases of a start, and fails where vLLM would.
async fn start(options: &Options, behaviour: &Behaviour) -> Result<TcpListener, String> {
    let pause = behaviour.start / 12;
    let listener = TcpListener::bind(options.address)
        .await
        .map_err(|e| format!("OSError: [Errno 98] error while attempting to bind on address: {e}"))?;
    let (model, length) = (&options.model, options.length);
    log(
        "APIServer",
        &format!(
            "vLLM API server version 0.33.0\n(APIServer pid=1) INFO 11-20 18:00:01 [u.py:1] non-default args: {{'model': '{model}'}}"
        ),
    );
    tokio::time::sleep(pause).await;
    if model.starts_with('/') && !std::path::Path::new(model).exists() {
        return Err(format!(
            "huggingface_hub.errors.HFValidationError: Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{model}'."
        ));
    }
    if behaviour.trouble == "driver" {
        return Err("RuntimeError: The NVIDIA driver on your system is too old (found version 12040). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx".to_owned());
    }
    log("APIServer", "Resolved architecture: StandInForCausalLM");
    if length > MODEL_LENGTH {
        return Err(format!(
            "Value error, User-specified max_model_len ({length}) is greater than the derived max_model_len (max_position_embeddings={MODEL_LENGTH}.0 or model_max_length=None in model's config.json)."
        ));
    }
    log("APIServer", &format!("Using max model len {length}"));
    let before = ["Initializing a V1 LLM engine (v0.33.0) with config: model", "rank 0 in world size 1 is assigned as DP rank 0"];
    for text in before {
        log("EngineCore", text);
        tokio::time::sleep(pause).await;
    }
    log("Worker", &format!("Starting to load model {model}..."));
    // Nothing was fetched; a real engine says how long it took.
    log("Worker", &format!("Time spent downloading weights for {model}: 14.000000 seconds"));
    for percent in [0, 50, 100] {
        tokio::time::sleep(pause).await;
        raw(&format!(
            "Loading safetensors checkpoint shards: {percent:3}% Completed | {}/2 [00:00<00:00, 9.00it/s]",
            percent / 50
        ));
    }
    if behaviour.trouble == "oom" {
        return Err("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 462.00 MiB. GPU 0 has a total capacity of 23.57 GiB of which 310.00 MiB is free.".to_owned());
    }
    let after = [
        "Loading weights took 0.10 seconds".to_owned(),
        "Model loading took 0.01 GiB memory and 0.1 seconds".to_owned(),
        "torch.compile took 0.10 s in total".to_owned(),
        "Available KV cache memory: 1.00 GiB".to_owned(),
        format!(
            "GPU KV cache size: {CACHE_TOKENS} tokens, Maximum concurrency for {length} tokens per request: {}.00x",
            CACHE_TOKENS / length.max(1)
        ),
        "Graph capturing finished in 0 secs, took 0.01 GiB".to_owned(),
        "init engine (profile, create kv cache, warmup model) took 0.10 s".to_owned(),
    ];
    for text in after {
        log("EngineCore", &text);
        tokio::time::sleep(pause).await;
    }
    log("APIServer", &format!("Starting vLLM server on http://{}", options.address));
    raw(&format!(
        "INFO:     Started server process [{}]\nINFO:     Waiting for application startup.\nINFO:     Application startup complete.",
        std::process::id()
    ));
    Ok(listener)
}

type Body = BoxBody<Bytes, Infallible>;

async fn serve(listener: TcpListener, options: Options, behaviour: Behaviour) -> u8 {
    let shared = Arc::new((options, behaviour));
    let Ok(mut terminated) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        return 1;
    };
    loop {
        let accepted = tokio::select! {
            _ = terminated.recv() => {
                log("APIServer", "[shutdown] API server: shutdown triggered");
                raw("INFO:     Application shutdown complete.");
                return 0;
            }
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else { continue };
        if socket.set_nodelay(true).is_err() {
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, &shared.0, &shared.1).await) }
            });
            // Whoever asks may leave as it likes: the real engine writes nothing of that either.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await.ok();
        });
    }
}

fn full(status: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(value.to_string())).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    full(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": status.as_u16()}}))
}

async fn answer(request: Request<Incoming>, options: &Options, behaviour: &Behaviour) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/v1")
        && let Some(key) = &behaviour.key
    {
        let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if shown != Some(&format!("Bearer {key}")) {
            return full(StatusCode::UNAUTHORIZED, &json!({"error": "Unauthorized"}));
        }
    }
    match (request.method(), path.as_str()) {
        (&Method::GET, "/health") => Response::new(Full::default().boxed()),
        (&Method::GET, "/version") => full(StatusCode::OK, &json!({"version": "0.33.0"})),
        (&Method::GET, "/metrics") => {
            let text = format!(
                "vllm:cache_config_info{{block_size=\"16\",engine=\"0\",kv_cache_size_tokens=\"{CACHE_TOKENS}\",num_gpu_blocks=\"4096\"}} 1.0\n"
            );
            Response::new(Full::new(Bytes::from(text)).boxed())
        }
        (&Method::GET, "/v1/models") => full(StatusCode::OK, &models(options)),
        (&Method::POST, _) if behaviour.trouble == "first-prompt" => {
            raw("torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device");
            raw("RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}");
            std::process::abort()
        }
        (&Method::POST, "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" | "/v1/messages") => {
            let Ok(body) = Limited::new(request.into_body(), 64 << 20).collect().await else {
                return error(StatusCode::BAD_REQUEST, "BadRequestError", "the body could not be read");
            };
            tokio::time::sleep(behaviour.first).await;
            generate(&path, &body.to_bytes(), options, behaviour.token)
        }
        _ => error(StatusCode::NOT_FOUND, "NotFoundError", "Not Found"),
    }
}

fn models(options: &Options) -> Value {
    let entry = |id: &str, parent: Option<&str>| json!({"id": id, "object": "model", "created": 0, "owned_by": "vllm", "root": options.model, "parent": parent, "max_model_len": options.length});
    let mut data: Vec<Value> = options.names.iter().map(|n| entry(n, None)).collect();
    data.extend(
        options
            .lora
            .iter()
            .filter_map(|l| l.split_once('='))
            .map(|(name, _)| entry(name, options.names.first().map(String::as_str))),
    );
    json!({"object": "list", "data": data})
}

fn generate(path: &str, body: &[u8], options: &Options, pause: Duration) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return error(StatusCode::BAD_REQUEST, "BadRequestError", "invalid JSON");
    };
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let adapters = options.lora.iter().filter_map(|l| l.split_once('='));
    if !options.names.contains(&model) && !adapters.into_iter().any(|(n, _)| n == model) {
        return error(StatusCode::NOT_FOUND, "NotFoundError", &format!("The model `{model}` does not exist."));
    }
    if path == "/v1/embeddings" {
        let data = json!([{"object": "embedding", "index": 0, "embedding": [0.1, 0.2, 0.3]}]);
        return full(
            StatusCode::OK,
            &json!({"object": "list", "model": model, "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}),
        );
    }
    let (chat, messages) = (path == "/v1/chat/completions", path == "/v1/messages");
    let asked = request.pointer("/messages").and_then(Value::as_array).and_then(|m| m.last()).and_then(|m| m.get("content"));
    // Content is a text, or begins with one.
    let asked = asked.map(|content| content.pointer("/0/text").unwrap_or(content));
    let asked =
        if chat || messages { asked } else { request.get("prompt") }.and_then(Value::as_str).unwrap_or("hello").to_owned();
    let limit = usize::try_from(request.get("max_tokens").and_then(Value::as_u64).unwrap_or(16)).unwrap_or(16);
    let words: Vec<String> = asked.split_inclusive(' ').map(str::to_owned).cycle().take(limit.clamp(1, 100_000)).collect();
    let object = if chat { "chat.completion" } else { "text_completion" };
    let streams = request.get("stream").and_then(Value::as_bool) == Some(true);
    if messages {
        if !streams {
            return full(StatusCode::OK, &anthropic::whole(&model, &words));
        }
        return sent(anthropic::events(&model, &words), pause);
    }
    if streams {
        let usage = request.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true);
        return stream(model, words, (chat, usage), pause);
    }
    let text: String = words.concat();
    let choice = if chat {
        json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "length"})
    } else {
        json!({"index": 0, "text": text, "finish_reason": "length"})
    };
    let usage = json!({"prompt_tokens": 1, "completion_tokens": words.len(), "total_tokens": words.len() + 1});
    full(
        StatusCode::OK,
        &json!({"id": "cmpl-1", "object": object, "created": 0, "model": model, "choices": [choice], "usage": usage}),
    )
}

fn stream(model: String, words: Vec<String>, (chat, usage): (bool, bool), pause: Duration) -> Response<Body> {
    let event = |delta: Value, finish: Value| {
        let choice = if chat {
            json!({"index": 0, "delta": delta, "finish_reason": finish})
        } else {
            json!({"index": 0, "text": delta.get("content").cloned().unwrap_or_default(), "finish_reason": finish})
        };
        Bytes::from(format!(
            "data: {}\n\n",
            json!({"id": "cmpl-1", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]})
        ))
    };
    let count = words.len();
    let mut events = vec![event(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(words.iter().map(|w| event(json!({"content": w}), Value::Null)));
    events.push(event(json!({}), "length".into()));
    if usage {
        let sum = json!({"id": "cmpl-1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": count, "total_tokens": count + 1}});
        events.push(Bytes::from(format!("data: {sum}\n\n")));
    }
    events.push(Bytes::from_static(b"data: [DONE]\n\n"));
    sent(events, pause)
}

/// Events one after the other.
fn sent(events: Vec<Bytes>, pause: Duration) -> Response<Body> {
    let (send, receive) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        for bytes in events {
            if send.send(bytes).await.is_err() {
                log("APIServer", "a stream was cancelled by its client");
                return;
            }
            tokio::time::sleep(pause).await;
        }
    });
    let mut response = Response::new(BodyExt::boxed(Events(receive)));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    response
}

/// Events as a body; dropping it tells the sender that the client has left.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
