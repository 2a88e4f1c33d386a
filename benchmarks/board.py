"""Serves TensorBoard on this machine, and asks it what its pages ask."""

import json
import logging
import time
import urllib.parse
import urllib.request
import warnings
from pathlib import Path
from typing import Any


class Server:
    """TensorBoard's own server, on this machine; it reads once what is there when it starts."""

    def __init__(self, logdir: Path, load_fast: str) -> None:
        with warnings.catch_warnings(action="ignore"):  # its copy of html5lib is an old one
            from tensorboard import default, program

            logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says what it reads
            board = program.TensorBoard(default.get_plugins())
            options = ["--logdir", str(logdir), "--port", "0", "--load_fast", load_fast]
            board.configure(argv=["tensorboard", *options, "--reload_interval", "0"])
            self.url = board.launch()

    def ask(self, path: str, request: dict[str, Any] | None = None, **query: str) -> Any:
        url = f"{self.url}data/{path}?{urllib.parse.urlencode(query)}"
        data = None if request is None else json.dumps(request).encode()
        asked = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return json.loads(answer.read())

    def wait_for(self, runs: int, jobs: int) -> None:
        """Waits until TensorBoard has read so many runs, of which some are jobs, to their ends."""
        for _ in range(600):
            texts = self.ask("plugin/text/tags").values()
            ended = sum("result/text_summary" in tags for tags in texts)
            if ended == runs and len(self.hparams()[2]) == jobs:
                return
            time.sleep(0.1)
        raise TimeoutError

    def hparams(self) -> tuple[list[dict[str, Any]], list[str], list[dict[str, Any]]]:
        """Returns the columns of values, those of metrics, and the rows, as the page asks."""
        shown = self.ask("plugin/hparams/experiment", {"experimentName": ""})
        statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        everything = {"allowedStatuses": statuses, "colParams": [], "startIndex": 0}
        rows = self.ask("plugin/hparams/session_groups", {**everything, "sliceSize": 5000})
        metrics = [info["name"]["tag"] for info in shown.get("metricInfos", [])]
        return shown.get("hparamInfos", []), metrics, rows.get("sessionGroups", [])
