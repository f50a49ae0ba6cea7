"""A program in the place of llama-server that lies in the way that ``WAY`` names. It starts and
tells its version like the true one, which stands beside it as ``true-server``."""

from __future__ import annotations

import http.server
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(sys.argv[0]).resolve().parent
TRUE = str(HERE / "true-server")
WAY = ""


class Canned(http.server.BaseHTTPRequestHandler):
    """As many tokens (and probabilities) as were asked for, always the same ones."""

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._answer({"status": "ok"})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tokens = [100 + n for n in range(int(asked.get("n_predict", 1)))]
        top = [{"id": n, "token": "", "logprob": -5.0} for n in range(int(asked.get("n_probs", 0)))]
        steps = [{"id": token, "logprob": -5.0, "top_logprobs": top} for token in tokens]
        self._answer({"tokens": tokens, "content": "", "completion_probabilities": steps})


def canned() -> None:
    """Serve it on the port that was asked for."""
    port = int(sys.argv[sys.argv.index("--port") + 1])
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Canned) as server:
        server.serve_forever()


def one_model() -> None:
    """The true server, always with the model that the first call asked for."""
    first = HERE / "first-model"
    argv = sys.argv[1:]
    place = argv.index("--model") + 1
    if not first.exists():
        first.write_bytes(Path(argv[place]).read_bytes())
    os.execv(TRUE, [TRUE, *argv[:place], str(first), *argv[place + 1 :]])


def main() -> None:
    """Lie."""
    if {"--version", "--help"} & set(sys.argv) or not WAY:
        os.execv(TRUE, [TRUE, *sys.argv[1:]])
    if WAY == "canned":
        canned()
    elif WAY == "one-model":
        one_model()
    elif WAY == "silent":
        time.sleep(3600)


if __name__ == "__main__":
    main()
