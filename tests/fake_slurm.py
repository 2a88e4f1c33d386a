"""Stands in for the commands of Slurm, by the name it is called by; its jobs run here at once."""

import os
import re
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "scancel")


def install(folder: Path) -> None:
    """Put the commands into a folder, for PATH.

    `sbatch` leaves the script that it was given there, as script.sh.
    """
    for name in COMMANDS:
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} {folder} "$@"\n')
        command.chmod(0o755)


def sbatch(folder: Path, words: list[str]) -> None:
    script = Path(words[-1]).read_text()
    (folder / "script.sh").write_text(script)
    last = re.search(r"--array=0-(\d+)", script)
    for task in map(str, range(int(last[1]) + 1) if last else [0]):
        of_a_job = {
            "SLURM_JOB_ID": f"7{task}",
            "SLURM_ARRAY_JOB_ID": "7",
            "SLURM_ARRAY_TASK_ID": task,
            "SLURM_NTASKS": "1",
            "SLURM_PROCID": "0",
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": "0",
            "SLURM_JOB_NUM_NODES": "1",
            "SLURM_JOB_NODELIST": "localhost",
            "SLURM_JOB_NAME": "curve_fit",
        }
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.Popen(
            ["sh", folder / "script.sh"],
            env={**os.environ, **of_a_job},
            start_new_session=True,
            **quiet,
        )
    print("Submitted batch job 7")


def main() -> None:
    name, folder, *words = sys.argv[1:]
    if name == "sbatch":
        sbatch(Path(folder), words)
    elif name == "srun":
        command = words[words.index("-u") - 1 :]  # Python, after srun's own options
        os.execv(command[0], command)
    elif name == "sacct":
        print(
            "JobID|State|NodeList\n"
            + "\n".join(f"7_{task}|RUNNING|localhost" for task in range(10))
        )


if __name__ == "__main__":
    main()
