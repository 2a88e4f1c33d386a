"""engine.config.place"""

from pathlib import Path

from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]


CONF = ROOT / "conf"


def register_resolvers() -> None:
    """Make `${project_root:}` known to OmegaConf: the folder that holds conf/, data/ and logs/."""
    OmegaConf.register_new_resolver("project_root", lambda: str(ROOT), replace=True)
