"""Makes the pictures of the README and of docs/, from real runs: make pictures

python benchmarks/pictures.py [FOLDER]
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import show

DOCS = Path(__file__).parent.parent / "docs"
LESS: list[str] = []  # further words of the command line, such as those of a short run
FRAMES = 4  # of the curve


def run_of(experiment: str, logs: Path) -> Path:
    """Runs an experiment, and returns the run's folder."""
    words = [f"experiment={experiment}", "accelerator=cpu", f"paths.log_dir={logs}"]
    command = [sys.executable, "-m", "project.train", *words, *LESS]
    subprocess.run(command, check=True, cwd=DOCS.parent)
    (folder,) = logs.glob(f"runs/{experiment}/*")
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
    """Writes the depth study of tanh beside that of ReLU."""
    figures = run_of("init_depth", logs) / "figures"
    panels = [Image.open(figures / f"depth_study_{name}.png") for name in ("tanh", "relu")]
    beside(panels, columns=2).save(folder / "lessons" / "depth_study.png", optimize=True)


def speed(logs: Path, folder: Path) -> None:
    """Draws what benchmarks/step_time.py measured."""
    show.draw(folder)


# A picture more, such as a screenshot, is a function (logs, folder) more.
PICTURES: list[Callable[[Path, Path], None]] = [curve_fit, depth_study, speed]


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    (folder / "lessons").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as logs:
        for make in PICTURES:
            make(Path(logs), folder)


if __name__ == "__main__":
    main()
