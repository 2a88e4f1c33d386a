"""Makes the pictures of the README and of docs/, from real runs: make pictures

python benchmarks/pictures.py [FOLDER]
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import show
from board import Server
from browser import ABSENT, CHROMIUM, Browser, Page, chromium, deep

DOCS = Path(__file__).parent.parent / "docs"
LESS: list[str] = []  # further words of the command line, such as those of a short run
FRAMES = 4  # of the curve
HERE = "paths.log_dir=logs"
SWEEP = [  # the sweep that the report and TensorBoard show
    "experiment=lenet",
    "datamodule=digits",
    "datamodule.batch_size=16",
    "datamodule.steps_per_epoch=150",
    "trainer.max_epochs=4",
    "optimizer=sgd,adam",
    "init=zero,he",
    "seed=0,1,2",
    "hydra/launcher=vectorized",
]
WIDTHS = {"report": 1240, "tensorboard": 1300}  # pixels
# Pictures of TensorBoard: the end of its address, what is there when it has been drawn, and pixels.
# The filter leaves out the rows of HParams, which TensorBoard lists as runs, and half of
# the jobs: TensorBoard has seven colours, and gives them in turn.
BOARD = {
    "tensorboard": (r"?runFilter=adam.*\w{8}$#timeseries", "scalar-card", 900),
    "hparams": ("#hparams", "vaadin-grid", 620),
}
LEGEND = 75  # pixels at the bottom of a figure of the depth study
# Switched off in the pictures: a table below each chart, so that less fits on a screen.
TABLES = "step selection and data table"
COLOURS = 256  # of a screenshot; what is left out, nobody sees


def command(folder: Path, name: str, *words: str) -> None:
    """Runs a command of the project in a folder."""
    subprocess.run([sys.executable, "-m", f"project.{name}", *words], check=True, cwd=folder)


def run_of(experiment: str, logs: Path) -> Path:
    """Runs an experiment, and returns the run's folder."""
    command(logs, "train", f"experiment={experiment}", "accelerator=cpu", HERE, *LESS)
    (folder,) = logs.glob(f"logs/runs/{experiment}/*")
    return folder


def beside(images: Sequence[Image.Image], columns: int) -> Image.Image:
    """Puts images of one size into rows of one image."""
    width, height = images[0].size
    rows = -(-len(images) // columns)  # rounded up
    whole = Image.new("RGB", (width * columns, height * rows), "white")
    for number, image in enumerate(images):
        whole.paste(image, (number % columns * width, number // columns * height))
    return whole


def curve_fit(logs: Path, folder: Path) -> None:
    """Writes frames of the curve as TensorBoard has them: the first, the last, two between."""
    events = EventAccumulator(str(run_of("curve_fit", logs)), {"images": 0}).Reload()
    drawn = [event.encoded_image_string for event in events.Images("train/curve")]
    chosen = [drawn[i * (len(drawn) - 1) // (FRAMES - 1)] for i in range(FRAMES)]
    frames = [Image.open(BytesIO(image)).convert("RGB") for image in chosen]
    beside(frames, columns=2).save(folder / "curve_fit.png", optimize=True)


def depth_study(logs: Path, folder: Path) -> None:
    """Writes the depth study of tanh beside that of ReLU, with the legend that both have once."""
    figures = run_of("init_depth", logs) / "figures"
    drawn = [Image.open(figures / f"depth_study_{name}.png") for name in ("tanh", "relu")]
    width, height = drawn[0].size
    legend, other = (one.crop((0, height - LEGEND, width, height)) for one in drawn)
    assert legend.tobytes() == other.tobytes()
    whole = beside(drawn, columns=2)
    whole.paste("white", (0, height - LEGEND, 2 * width, height))
    whole.paste(legend, (width // 2, height - LEGEND))
    whole.save(folder / "lessons" / "depth_study.png", optimize=True)


def speed(logs: Path, folder: Path) -> None:
    """Draws what benchmarks/step_time.py measured."""
    show.draw(folder)


def screens(logs: Path, folder: Path) -> None:
    """Writes what a browser shows of a sweep: the report, light and dark, and TensorBoard."""
    if CHROMIUM is None:
        print(f"report and TensorBoard keep their pictures: {ABSENT}")
        return
    command(logs, "train", "-m", *SWEEP, "accelerator=cpu", HERE)
    command(logs, "report", "logs/sweeps/lenet")
    sweep = logs / "logs/sweeps/lenet"
    assert str(logs) not in (sweep / "report.html").read_text()  # no path of this machine
    jobs = len(list(sweep.glob("*/summary.json")))
    server = Server(sweep, "true")
    server.wait_for(jobs, jobs)
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as browser:
        of_report(browser, sweep / "report.html", folder)
        of_tensorboard(browser, server.url, folder)


def of_report(browser: Browser, report: Path, folder: Path) -> None:
    """Writes the top of a report, up to its first figure, light and dark."""
    for name, dark in {"light": False, "dark": True}.items():
        page = browser.open(report.as_uri(), width=WIDTHS["report"], dark=dark)
        end = "document.querySelector('.panels').getBoundingClientRect().bottom"
        save(page, folder / f"report-{name}.png", height=page.evaluate(f"Math.ceil({end}) + 4"))


def of_tensorboard(browser: Browser, address: str, folder: Path) -> None:
    """Writes TensorBoard's first screen, and its table of HParams."""
    for name, (end, shown, height) in BOARD.items():
        page = browser.open(f"{address}{end}", width=WIDTHS["tensorboard"])
        page.wait_for(f"{deep(shown)}.filter(one => one.clientHeight > 20).length")
        boxes = f"{deep('mat-checkbox')}.find(one => one.innerText.includes('{TABLES}'))"
        page.evaluate(f"{boxes}?.querySelector('input').click()")
        page.evaluate(f"{deep('button')}.find(one => one.innerText == 'Settings')?.click()")
        time.sleep(2)  # its lines are drawn by and by
        save(page, folder / f"{name}.png", height)


def save(page: Page, path: Path, height: int) -> None:
    """Writes the top of a page as a picture of modest size."""
    page.screenshot(path, height)
    with Image.open(path) as shot:
        small = shot.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


# A picture more is a function (logs, folder) more.
PICTURES: list[Callable[[Path, Path], None]] = [curve_fit, depth_study, speed, screens]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    (folder / "lessons").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as logs:
        for make in PICTURES:
            make(Path(logs), folder)


if __name__ == "__main__":
    main()
