"""The provenance of a version: the commit, the rows, and their files in DVC."""

import json
from pathlib import Path

from ml import snapshot
from ml.training.fit import Fitted

COMMIT_TAG = "mlflow.source.git.commit"  # MLflow's own name for it


def revision() -> str | None:
    """Return the commit that this code, and with it ``dvc.lock``, is at; None outside a repository."""
    from git import Repo
    from git.exc import GitError

    try:
        return str(Repo(Path(__file__).parent, search_parent_directories=True).head.commit.hexsha)
    except (GitError, ValueError):  # no repository here, or one without a commit
        return None


def data_tags(fitted: Fitted, snapshots: Path | None) -> dict[str, str]:
    """Return the tags that record a version's data.

    Of snapshots, the tag ``pinrail.data.dvc`` holds each file's MD5, which is what DVC calls it; the commit is the
    revision of ``dvc.lock`` that lists the same. Of rows from an inference log, ``pinrail.data.log`` says whose.
    """
    tags = {
        "pinrail.data.training": fitted.training.digest,
        "pinrail.data.evaluation": fitted.evaluation.digest,
    }
    commit = revision()
    if commit:
        tags["pinrail.data.revision"] = commit
    if snapshots is not None:
        tags["pinrail.data.dvc"] = json.dumps(snapshot.checksums(snapshots))
        if (logged := snapshot.lineage(snapshots)) is not None:
            tags["pinrail.data.log"] = logged
    return tags
