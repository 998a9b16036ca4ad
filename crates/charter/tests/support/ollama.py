"""A stand-in for Ollama's server: its paths and the shapes of its answers as recorded, without a model."""
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HOST, PORT = os.environ["OLLAMA_HOST"].rsplit(":", 1)
CONTEXT = int(os.environ["OLLAMA_CONTEXT_LENGTH"])
# What goes wrong, if anything: unknown, full, processor, load.
TROUBLE = os.environ.get("STANDIN_TROUBLE", "")
THERE, LOADED, LOCK = set(), {}, threading.Lock()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, value, status=200):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def lines(self, values):
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for value in values:
            line = (json.dumps(value) + "\n").encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def do_GET(self):
        with LOCK:
            if self.path == "/api/tags":
                self.answer({"models": [{"name": m, "model": m, "size": 5225388164, "digest": "500a1f067a9f"} for m in sorted(THERE)]})
            elif self.path == "/api/ps":
                self.answer({"models": [{"name": m, "size": 6654289920, "size_vram": v, "context_length": CONTEXT} for m, v in LOADED.items()]})
            elif self.path == "/v1/models":
                self.answer({"object": "list", "data": [{"id": m, "object": "model", "owned_by": "library"} for m in sorted(THERE)]})
            elif self.path == "/api/version":
                self.answer({"version": "0.13.3"})
            else:
                self.answer({"error": "404 page not found"}, 404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = asked["model"]
        if self.path == "/api/pull":
            if TROUBLE == "unknown":
                return self.lines([{"status": "pulling manifest"}, {"error": "pull model manifest: file does not exist"}])
            if TROUBLE == "full":
                return self.lines([{"status": "pulling manifest"}, {"error": "write /root/.ollama: no space left on device"}])
            self.lines(self.pull(model))
        elif self.path == "/api/generate":
            if model not in THERE:
                return self.answer({"error": f"model '{model}' not found"}, 404)
            if TROUBLE == "load":
                return self.answer({"error": "model requires more system memory (90.0 GiB) than is available (8.0 GiB)"}, 500)
            with LOCK:
                LOADED[model] = 0 if TROUBLE == "processor" else 6654289920
            self.answer({"model": model, "response": "", "done": True, "done_reason": "load"})
        elif self.path == "/v1/chat/completions":
            if model not in THERE:
                return self.answer({"error": {"message": f"model '{model}' not found", "type": "not_found_error", "param": None, "code": None}}, 404)
            self.answer({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model, "system_fingerprint": "fp_ollama",
                         "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
                         "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}})
        else:
            self.answer({"error": "404 page not found"}, 404)

    def pull(self, model):
        yield {"status": "pulling manifest"}
        total = 5225388164
        for part in range(0, 11):
            line = {"status": "pulling 500a1f067a9f", "digest": "sha256:500a1f067a9f", "total": total}
            if part:
                line["completed"] = total * part // 10
            yield line
            time.sleep(0.05)
        for status in ["verifying sha256 digest", "writing manifest", "removing unused layers"]:
            yield {"status": status}
        with LOCK:
            THERE.add(model)
        yield {"status": "success"}


if sys.argv[1:] != ["serve"]:
    sys.exit("usage: ollama serve")
print(f"Listening on {HOST}:{PORT} (version 0.13.3)", flush=True)
ThreadingHTTPServer((HOST, int(PORT)), Handler).serve_forever()
