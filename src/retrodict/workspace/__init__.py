"""Opens the parts of a workspace and wires them; makes the events that the rooms above record. It has no verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrodict.kernel import lazy

if TYPE_CHECKING:
    from retrodict.workspace.batch import Batch, edges_or_list, signed
    from retrodict.workspace.errors import CopiedWorkspaceError, ForeignKeyFileError, UnwritableStateError
    from retrodict.workspace.layout import FOLDER, FORMAT, Layout, LogFile, format_file, log_path
    from retrodict.workspace.opened import (
        Workspace,
        close,
        log_keys,
        publish,
        refuse_without_keys,
        refuse_writing,
        signed_log,
    )
    from retrodict.workspace.opening import alone, create, find_root, open_workspace
    from retrodict.workspace.projections import PERSONAL, PROJECTION, forgotten_keys, sealed_objects, subject_indexes
    from retrodict.workspace.signers import RecordedSigner, recorded_signers
    from retrodict.workspace.texts import (
        agent_name,
        destroy_forgotten,
        forgettings,
        forgotten_by,
        holders,
        last_forgotten,
        looks_at,
        open_text,
        sealed_key,
        sealed_text,
    )

_HOMES = {
    "Batch": "batch",
    "CopiedWorkspaceError": "errors",
    "FOLDER": "layout",
    "FORMAT": "layout",
    "ForeignKeyFileError": "errors",
    "Layout": "layout",
    "LogFile": "layout",
    "PERSONAL": "projections",
    "PROJECTION": "projections",
    "RecordedSigner": "signers",
    "UnwritableStateError": "errors",
    "Workspace": "opened",
    "agent_name": "texts",
    "alone": "opening",
    "close": "opened",
    "create": "opening",
    "destroy_forgotten": "texts",
    "edges_or_list": "batch",
    "find_root": "opening",
    "forgotten_by": "texts",
    "forgettings": "texts",
    "last_forgotten": "texts",
    "looks_at": "texts",
    "forgotten_keys": "projections",
    "format_file": "layout",
    "holders": "texts",
    "log_keys": "opened",
    "log_path": "layout",
    "open_text": "texts",
    "open_workspace": "opening",
    "publish": "opened",
    "recorded_signers": "signers",
    "refuse_without_keys": "opened",
    "refuse_writing": "opened",
    "sealed_key": "texts",
    "sealed_objects": "projections",
    "sealed_text": "texts",
    "signed": "batch",
    "signed_log": "opened",
    "subject_indexes": "projections",
}

__all__ = [
    "FOLDER",
    "FORMAT",
    "PERSONAL",
    "PROJECTION",
    "Batch",
    "CopiedWorkspaceError",
    "ForeignKeyFileError",
    "Layout",
    "LogFile",
    "RecordedSigner",
    "UnwritableStateError",
    "Workspace",
    "agent_name",
    "alone",
    "close",
    "create",
    "destroy_forgotten",
    "edges_or_list",
    "find_root",
    "forgettings",
    "forgotten_by",
    "forgotten_keys",
    "format_file",
    "holders",
    "last_forgotten",
    "log_keys",
    "log_path",
    "looks_at",
    "open_text",
    "open_workspace",
    "publish",
    "recorded_signers",
    "refuse_without_keys",
    "refuse_writing",
    "sealed_key",
    "sealed_objects",
    "sealed_text",
    "signed",
    "signed_log",
    "subject_indexes",
]


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _HOMES, name)
