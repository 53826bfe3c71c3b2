"""What rules ask for: the named tables of the config, checks, paths and digests of code.

Nothing beyond the standard library and the schema's reader is imported, so that a dry run starts fast. Imports within
are relative, so that each checkout loads its own under a name of its own.
"""

from ..catalogue.behaviours import BEHAVIOURS
from ..catalogue.methods import (
    CHECKPOINT_METHODS,
    GRADIENT_METHODS,
    INDEXABLE,
    KERNEL_METHODS,
    LISSA_CACHE,
    METHODS,
    MIXED_METHODS,
    SAMPLE_METHODS,
    TAUGHT_METHODS,
)
from ..runtime.errors import UserError
from .ablations import COMPRESSED_METHODS
from .config_files import check_config_files
from .costs import stage_metrics
from .disk import require_room
from .doctor_entries import doctor_entries
from .figures import (
    comparing_figures,
    drawn_figures,
    explored,
    explorer_notes,
    figure_files,
    labelled_scores,
    labelled_tops,
    told_games,
)
from .game_plans import game_plan
from .games import PARTS, TRAINERS
from .gradients import cache_pattern
from .job_code import JobCode, older_code
from .job_contents import JobContents
from .maps import PARTS as MAPPED_PARTS
from .memory import cascade_mb, index_mb, model_mb, scoring_mb, taught_mb
from .paper import SECTIONS, paper_runs
from .plan_entries import plan_entry
from .studies import ALL_CONTROLS, CONTROLS, removed_by
from .tables import one_of, open_tables
from .terminal import pages, shorten_terminal
from .values import page_text, pick
from .verify_entries import verify_entries, verify_folders

__all__ = [
    "ALL_CONTROLS",
    "BEHAVIOURS",
    "CHECKPOINT_METHODS",
    "COMPRESSED_METHODS",
    "CONTROLS",
    "GRADIENT_METHODS",
    "INDEXABLE",
    "KERNEL_METHODS",
    "LISSA_CACHE",
    "MAPPED_PARTS",
    "METHODS",
    "MIXED_METHODS",
    "PARTS",
    "SAMPLE_METHODS",
    "SECTIONS",
    "TAUGHT_METHODS",
    "TRAINERS",
    "JobCode",
    "JobContents",
    "UserError",
    "cache_pattern",
    "cascade_mb",
    "check_config_files",
    "comparing_figures",
    "doctor_entries",
    "drawn_figures",
    "explored",
    "explorer_notes",
    "figure_files",
    "game_plan",
    "index_mb",
    "labelled_scores",
    "labelled_tops",
    "model_mb",
    "older_code",
    "one_of",
    "open_tables",
    "page_text",
    "pages",
    "paper_runs",
    "pick",
    "plan_entry",
    "removed_by",
    "require_room",
    "scoring_mb",
    "shorten_terminal",
    "stage_metrics",
    "taught_mb",
    "told_games",
    "verify_entries",
    "verify_folders",
]
